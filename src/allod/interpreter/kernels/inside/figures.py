# pyright: basic, reportAttributeAccessIssue=false, reportOptionalMemberAccess=false, reportOptionalCall=false
# pyright: reportArgumentType=false, reportMissingImports=false
"""Figures are shown as pictures at ``plt.show()``, or at the end of a run that made one and did nothing with it.

Unlike the backends of notebooks, showing does not close a figure: ``plt.show()`` followed by ``plt.savefig(…)``, which
models write in that order, saves the figure and not an empty page. A figure is closed at the end of a run that showed
or saved it, or that failed; one that a later run may want to save stays.
"""

import io
import sys


class Figures:
    """What became of the figures."""

    def __init__(self, shell):
        self.done = set()  # numbers of the figures that this run showed or saved
        self.published = set()  # and of those that were published at the end of one, and are open still
        shell.events.register("post_run_cell", self.end)

    def install(self, pyplot):
        """Called once pyplot is imported."""
        from matplotlib.figure import Figure

        save = Figure.savefig

        def savefig(figure, *args, **kwargs):
            result = save(figure, *args, **kwargs)
            self.done.add(getattr(figure, "number", None))
            return result

        def show(*_, **__):
            for number in pyplot.get_fignums():
                if number not in self.done:
                    self.publish(pyplot.figure(number))

        Figure.savefig = savefig
        Figure.show = lambda figure, *_, **__: self.publish(figure)
        pyplot.show = show  # a function, as pyplot writes attributes on it

    def publish(self, figure):
        """Hands a figure to the user."""
        from IPython.display import display

        self.done.add(getattr(figure, "number", None))
        png = io.BytesIO()
        figure.canvas.print_figure(png, format="png", dpi=100, bbox_inches="tight")
        display({"image/png": png.getvalue(), "text/plain": "a figure"}, raw=True)

    def end(self, result):
        """The run is over."""
        pyplot = sys.modules.get("matplotlib.pyplot")
        if pyplot is None or not hasattr(pyplot, "get_fignums"):
            return
        for number in pyplot.get_fignums():
            if number in self.done or not result.success:
                pyplot.close(number)
            elif number not in self.published and pyplot.figure(number).axes:
                self.publish(pyplot.figure(number))
                self.published.add(number)
        self.published &= set(pyplot.get_fignums())
        self.done.clear()
