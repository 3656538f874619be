"""Charts and pictures: jobs whose result is looked at."""

import datetime
import math
from pathlib import Path
from random import Random
from typing import Any

from suite import files, pictures
from suite.task import Task, Wrong


class CafeBars(Task):
    kind = "chart"
    prompts = ("Draw a bar chart of the cups sold per drink from cafe.csv and save it as drinks.png.",)

    def make(self, folder: Path, rng: Random) -> Any:
        total: dict[str, int] = {}
        rows = []
        for at in range(150):
            drink = rng.choices(["Coffee", "Tea", "Cocoa", "Juice", "Water"], [9, 6, 4, 3, 2])[0]
            cups = rng.randint(1, 30)
            total[drink] = total.get(drink, 0) + cups
            rows.append((f"2024-02-{1 + at // 6:02d}", drink, cups))
        files.table(folder / "cafe.csv", ("day", "drink", "cups"), rows)
        return list(total.values())

    def check(self, folder: Path, said: str, facts: Any) -> None:
        pictures.bars(folder / "drinks.png", facts)

    solution = """
import pandas as pd, matplotlib.pyplot as plt
d = pd.read_csv("cafe.csv").groupby("drink").cups.sum()
d.plot.bar()
plt.tight_layout()
plt.savefig("drinks.png")
plt.close("all")
"""
    wrong = (
        "# counts the rows\nimport pandas as pd, matplotlib.pyplot as plt\n"
        "pd.read_csv('cafe.csv').groupby('drink').cups.mean().plot.bar()\nplt.savefig('drinks.png')\nplt.close('all')",
        "# an empty chart\nimport matplotlib.pyplot as plt\nplt.figure()\nplt.title('Cups sold per drink')\n"
        "plt.savefig('drinks.png')\nplt.close('all')",
    )


class LibraryBars(Task):
    kind = "chart"
    prompts = (
        "visits.csv lists the visits to our library by weekday over a few weeks. Please make a horizontal bar chart "
        "with the "
        "average number of visits per weekday, as visits.png.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        days = {"Mon": 120, "Tue": 260, "Wed": 190, "Thu": 330, "Fri": 410, "Sat": 520}
        rows = [
            (f"week {week}", day, round(mean * rng.uniform(0.8, 1.2)))
            for week in range(1, 15)
            for day, mean in days.items()
        ]
        files.table(folder / "visits.csv", ("week", "weekday", "visits"), rows, sep=";")
        return [sum(n for _, d, n in rows if d == day) / 14 for day in days]

    def check(self, folder: Path, said: str, facts: Any) -> None:
        pictures.bars(folder / "visits.png", facts)

    solution = """
import pandas as pd, matplotlib.pyplot as plt
d = pd.read_csv("visits.csv", sep=";").groupby("weekday").visits.mean()
plt.figure(figsize=(9, 5))
plt.barh(d.index, d, color="seagreen")
plt.grid(axis="x")
plt.savefig("visits.png")
plt.close("all")
"""
    wrong = (
        "# a line\nimport pandas as pd, matplotlib.pyplot as plt\n"
        "pd.read_csv('visits.csv', sep=';').groupby('weekday').visits.mean().plot()\nplt.savefig('visits.png')\n"
        "plt.close('all')",
        "# each visit a bar\nimport pandas as pd, matplotlib.pyplot as plt\nd = pd.read_csv('visits.csv', sep=';')\n"
        "plt.barh(range(len(d)), d.visits)\nplt.savefig('visits.png')\nplt.close('all')",
    )


class LakeLevel(Task):
    kind = "chart"
    prompts = (
        "Plot the water level of the lake over time from level.csv as a line, and save the picture as level.png.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        day = datetime.date(2022, 1, 1)
        levels = [
            round(402.6 + 1.7 * math.sin(at / 37) + 0.5 * math.sin(at / 9) + rng.gauss(0, 0.05), 2) for at in range(420)
        ]
        rows = [(f"{day + datetime.timedelta(at)}", level) for at, level in enumerate(levels)]
        rng.shuffle(rows)
        files.table(folder / "level.csv", ("date", "metres"), rows)
        return levels

    def check(self, folder: Path, said: str, facts: Any) -> None:
        pictures.curve(folder / "level.png", facts)

    solution = """
import pandas as pd, matplotlib.pyplot as plt
d = pd.read_csv("level.csv", parse_dates=["date"]).sort_values("date")
plt.figure(figsize=(10, 4))
plt.plot(d.date, d.metres)
plt.ylabel("m")
plt.savefig("level.png")
plt.close("all")
"""
    wrong = (
        "# not sorted\nimport pandas as pd, matplotlib.pyplot as plt\nd = pd.read_csv('level.csv')\n"
        "plt.plot(d.index, d.metres)\nplt.savefig('level.png')\nplt.close('all')",
        "# from zero\nimport pandas as pd, matplotlib.pyplot as plt\nd = pd.read_csv('level.csv')\n"
        "plt.plot([0, 1, 2], [1, 1, 1])\nplt.savefig('level.png')\nplt.close('all')",
    )


class DailyPower(Task):
    kind = "chart"
    prompts = (
        "power.csv has the output of my solar panels every 10 minutes. I want a line chart of the energy per day "
        "(sum of the "
        "kWh of the day), saved as solar.png.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        rows, days = [], []
        for at in range(120):
            day = datetime.date(2023, 3, 1) + datetime.timedelta(at)
            best = 0.9 + 0.6 * math.sin(at / 13) + 0.004 * at
            values = [
                round(max(0, best * math.sin((n - 36) / 72 * math.pi)) + rng.random() * 0.02, 3)
                for n in range(36, 108, 3)
            ]
            rows += [(f"{day:%d/%m/%Y} {6 + i // 2:02d}:{i % 2 * 3}0", value) for i, value in enumerate(values)]
            days.append(sum(values))
        files.table(folder / "power.csv", ("time", "kwh"), rows)
        return days

    def check(self, folder: Path, said: str, facts: Any) -> None:
        pictures.curve(folder / "solar.png", facts, 0.9)

    solution = """
import pandas as pd, matplotlib.pyplot as plt
d = pd.read_csv("power.csv")
d["time"] = pd.to_datetime(d.time, format="%d/%m/%Y %H:%M")
d.set_index("time").kwh.resample("D").sum().plot(title="Energy per day")
plt.savefig("solar.png")
plt.close("all")
"""
    wrong = (
        "# not by day\nimport pandas as pd, matplotlib.pyplot as plt\npd.read_csv('power.csv').kwh.plot()\n"
        "plt.savefig('solar.png')\nplt.close('all')",
        "# month first\nimport pandas as pd, matplotlib.pyplot as plt\nd = pd.read_csv('power.csv')\n"
        "d['time'] = pd.to_datetime(d.time, format='mixed', dayfirst=False)\n"
        "d.set_index('time').kwh.resample('D').sum().plot()\nplt.savefig('solar.png')\nplt.close('all')",
    )


class SquareGrey(Task):
    kind = "image"
    prompts = (
        "Cut the largest possible square out of the middle of view.png, make it black and white (grey tones), 400 by "
        "400 "
        "pixels, and save it as avatar.jpg.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        image = files.scene(1130, 742, rng)
        image.save(folder / "view.png")
        left = (1130 - 742) // 2
        return image.crop((left, 0, left + 742, 742)).convert("L").resize((400, 400))

    def check(self, folder: Path, said: str, facts: Any) -> None:
        image = pictures.picture(folder / "avatar.jpg", "JPEG")
        pictures.sized(image, 400, 400, 0)
        pictures.grey(image)
        pictures.alike(image, facts, 5)

    solution = """
from PIL import Image
image = Image.open("view.png")
side = min(image.size)
left, top = (image.width - side) // 2, (image.height - side) // 2
image.crop((left, top, left + side, top + side)).convert("L").resize((400, 400)).save("avatar.jpg")
"""
    wrong = (
        "# squeezed\nfrom PIL import Image\nImage.open('view.png').convert('L').resize((400, 400)).save('avatar.jpg')",
        "# in colour\nfrom PIL import Image\n"
        "Image.open('view.png').convert('RGB').crop((194, 0, 936, 742)).resize((400, 400)).save('avatar.jpg')",
        "# the left end\nfrom PIL import Image\n"
        "Image.open('view.png').convert('L').crop((0, 0, 742, 742)).resize((400, 400)).save('avatar.jpg')",
    )


class Thumbnails(Task):
    kind = "image"
    prompts = (
        "Make thumbnails of all pictures in the folder trip (JPEG and PNG): at most 200 pixels wide and 200 high, "
        "proportions "
        "kept, as JPEG files with the same name in a new folder thumbs.",
    )

    def make(self, folder: Path, rng: Random) -> Any:
        found = {}
        (folder / "trip").mkdir()
        sizes = {"beach.jpg": (640, 420), "Tower.JPG": (360, 700), "map.png": (500, 500), "small.jpg": (160, 90)}
        for name, size in (sizes | {"boat.jpeg": (900, 300), "clear.png": (320, 480)}).items():
            image = files.scene(*size, rng)
            if name == "clear.png":
                image.putalpha(255)
            image.save(folder / "trip" / name)
            found[name] = image.convert("RGB")
        (folder / "trip" / "diary.txt").write_text("Day 1: rain.\n")
        return found

    def check(self, folder: Path, said: str, facts: Any) -> None:
        files_there = {path.stem: path for path in (folder / "thumbs").glob("*")}
        for name, image in facts.items():
            stem = name.partition(".")[0]
            if stem not in files_there or not files_there[stem].name.lower().endswith((".jpg", ".jpeg")):
                raise Wrong(f"there is no thumbnail of {name}")
            small = pictures.picture(files_there[stem], "JPEG")
            scale = min(200 / image.width, 200 / image.height)
            if small.size != image.size or scale < 1:  # one that is small already may stay so
                pictures.sized(small, image.width * scale, image.height * scale)
            pictures.alike(small, image)
        if len(files_there) != len(facts):
            raise Wrong("there is more in thumbs than the thumbnails")

    solution = """
from pathlib import Path
from PIL import Image
Path("thumbs").mkdir()
for path in Path("trip").iterdir():
    if path.suffix.lower() in (".jpg", ".jpeg", ".png"):
        image = Image.open(path).convert("RGB")
        image.thumbnail((200, 200))
        image.save(Path("thumbs") / (path.stem + ".jpg"))
"""
    wrong = (
        "# squeezed\nfrom pathlib import Path\nfrom PIL import Image\nPath('thumbs').mkdir()\n"
        "for p in Path('trip').iterdir():\n    if p.suffix.lower() in ('.jpg', '.jpeg', '.png'):\n"
        "        Image.open(p).convert('RGB').resize((200, 200)).save(f'thumbs/{p.stem}.jpg')",
        "# endings in small letters\nfrom pathlib import Path\nfrom PIL import Image\nPath('thumbs').mkdir()\n"
        "for p in [*Path('trip').glob('*.jpg'), *Path('trip').glob('*.png')]:\n    i = Image.open(p).convert('RGB')\n"
        "    i.thumbnail((200, 200))\n    i.save(f'thumbs/{p.stem}.jpg')",
    )
