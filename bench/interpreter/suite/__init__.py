"""Jobs for a code interpreter, each with its files, its check, a solution and results that must not pass.

task.py      what a task is; where all of them are; the halves
answers.py   numbers and words in what was said          tables.py    tables in files
pictures.py  pictures and charts                         files.py     writing the files of a job
tasks/       the tasks themselves, by family

Checks are strict on facts and lenient on form. It knows nothing of allod; `run.py` brings the two together.
"""
