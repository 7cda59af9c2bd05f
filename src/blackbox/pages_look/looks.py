"""Makes clean files, has each sanitised, and compares the pictures of its pages before and after.

usage: looks.py WORKER PICTURES [NAME…]     (see `run` beside this file)
"""

import io
import json
import pathlib
import posixpath
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as xml
import zipfile

import samples

# Pixels are equal; but a photograph is encoded once more (JPEG), and may be off by this much of 255 in the mean of a page, and
# nowhere by more than that.
PHOTO_MEAN, PHOTO_MOST = 0.5, 48
# Seconds for LibreOffice to make all files.
PATIENCE = 300


def office(folder, profile, kind, files):
    """Has LibreOffice write files in another format, and gives what it complains of; a file that it cannot open is missing then."""
    command = ["soffice", f"-env:UserInstallation=file://{profile}", "--headless", "--norestore", "--convert-to", kind, "--outdir", folder, *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
    return [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line]


def sanitise(worker, name, file):
    """The worker's answer, and the file that it made."""
    task = {"name": name, "settings": {}, "memory_bytes": 2 << 30, "cpu_seconds": 60}
    done = subprocess.run([worker], input=json.dumps(task).encode() + b"\n" + file, capture_output=True, timeout=90)
    line, _, rest = done.stdout.partition(b"\n")
    verdict = json.loads(line)["verdict"] if line else f"the worker ended with {done.returncode}"
    return verdict, file if verdict == "Clean" else rest


def faults_of_package(file):
    """What would make Office ask whether to repair: parts without a type, relations and manifest rows that lead nowhere, broken XML."""
    found = []
    archive = zipfile.ZipFile(io.BytesIO(file))
    names = set(archive.namelist())
    if archive.testzip():
        found.append("a wrong checksum")
    for name in names:
        if name.endswith((".xml", ".rels", ".vml")):
            try:
                xml.fromstring(archive.read(name))
            except xml.ParseError as error:
                found.append(f"{name}: {error}")
    if "mimetype" in names:
        first = archive.infolist()[0]
        if first.filename != "mimetype" or first.compress_type != zipfile.ZIP_STORED or first.header_offset:
            found.append("mimetype is not first and plain")
        space = "{urn:oasis:names:tc:opendocument:xmlns:manifest:1.0}"
        rows = {row.get(space + "full-path") for row in xml.fromstring(archive.read("META-INF/manifest.xml"))}
        files = {row for row in rows if not row.endswith("/")}
        return found + [f"manifest: {name}" for name in files ^ (names - {"mimetype", "META-INF/manifest.xml"})]
    types = xml.fromstring(archive.read("[Content_Types].xml"))
    ends = {row.get("Extension").lower() for row in types if row.tag.endswith("Default")}
    parts = {row.get("PartName").lstrip("/") for row in types if row.tag.endswith("Override")}
    found += [f"a type of nothing: {name}" for name in parts - names]
    found += [f"no type: {name}" for name in names - parts - {"[Content_Types].xml"} if name.rsplit(".")[-1].lower() not in ends]
    for name in names:
        if not name.endswith(".rels"):
            continue
        folder = posixpath.dirname(posixpath.dirname(name))
        for row in xml.fromstring(archive.read(name)):
            target = row.get("Target")
            if row.get("TargetMode") == "External" or target.startswith("#"):
                continue
            path = target.lstrip("/") if target.startswith("/") else posixpath.normpath(posixpath.join(folder, target))
            if path not in names:
                found.append(f"{name} leads to {target}")
    return found


def pages(folder, pdf):
    """The pictures of a PDF's pages (PPM) in their order."""
    folder.mkdir(parents=True)
    subprocess.run(["pdftoppm", "-r", "96", pdf, folder / "page"], check=True, capture_output=True, timeout=PATIENCE)
    return sorted(folder.glob("page*.ppm"))


def difference(before, after, is_photo):
    """What tells two pictures apart; nothing where they look the same."""
    one, other = before.read_bytes(), after.read_bytes()
    if one == other:
        return None
    if len(one) != len(other):
        return "another size"
    off = [abs(a - b) for a, b in zip(one, other) if a != b]
    mean, most = sum(off) / len(one), max(off)
    if is_photo and mean <= PHOTO_MEAN and most <= PHOTO_MOST:
        return None
    return f"{len(off)} of {len(one)} values, by {mean:.4f} in the mean and {most} at most"


def make(folder, profile):
    """All clean files, by their names."""
    plain = folder / "plain"
    plain.mkdir()
    (plain / "not-embedded.pdf").write_bytes(samples.pdf())
    (plain / "shared.pdf").write_bytes(samples.shared())
    subprocess.run(["pdftoppm", "-jpeg", "-r", "100", plain / "not-embedded.pdf", plain / "photo"], check=True)
    photo = next(plain.glob("photo*.jpg"))
    sources = {
        "text.fodt": samples.text(), "vertical.fodt": samples.text("tb-rl"), "photo.fodt": samples.text(picture=photo.read_bytes()),
        "sheet.fods": samples.sheet(), "slides.fodp": samples.slides(),
    }
    photo.unlink()
    for name, source in sources.items():
        (folder / name).write_bytes(source)
    kinds = {"fodt": ["docx", "odt", "pdf"], "fods": ["xlsx", "ods", "pdf"], "fodp": ["pptx", "odp", "pdf"]}
    for end, wanted in kinds.items():
        for kind in wanted:
            office(plain, profile, kind, [str(folder / name) for name in sources if name.endswith(end)])
    return sorted(plain.iterdir())


def main():
    worker, pictures, *only = sys.argv[1:]
    kept = pathlib.Path(pictures)
    wrong = 0
    with tempfile.TemporaryDirectory() as place:
        place = pathlib.Path(place)
        profile, made = place / "profile", place / "made"
        made.mkdir()
        files = [file for file in make(place, profile) if not only or any(name in file.name for name in only)]
        verdicts = {}
        for file in files:
            verdicts[file.name], new = sanitise(worker, file.name, file.read_bytes())
            (made / file.name).write_bytes(new)
        told = []
        for side, origin in (("before", place / "plain"), ("after", made)):
            # LibreOffice keeps the stem alone: text.docx and text.odt would become one PDF.
            (place / side).mkdir()
            named = [(origin / file.name, place / side / f"{file.stem}-{file.suffix[1:]}{file.suffix}") for file in files if file.suffix != ".pdf"]
            for old, new in named:
                new.write_bytes(old.read_bytes())
            told += office(place / side, profile, "pdf", [str(new) for _, new in named]) if named else []
        for file in files:
            verdict, faults = verdicts[file.name], []
            if verdict != "Clean" and "Rebuilt" not in verdict:
                faults.append(f"not given: {verdict}")
            elif file.suffix == ".pdf":
                sides = [file, made / file.name]
            else:
                faults += faults_of_package((made / file.name).read_bytes())
                sides = [place / side / f"{file.stem}-{file.suffix[1:]}.pdf" for side in ("before", "after")]
                faults += [f"LibreOffice did not open it {side}" for side, pdf in zip(("before", "after"), sides) if not pdf.exists()]
            count = 0
            if not faults:
                before, after = (pages(place / "pages" / file.name / side, pdf) for side, pdf in zip(("before", "after"), sides))
                count = len(before)
                if len(before) != len(after) or not before:
                    faults.append(f"{len(before)} pages became {len(after)}")
                for number, (one, other) in enumerate(zip(before, after), 1):
                    if found := difference(one, other, file.stem == "photo"):
                        faults.append(f"page {number}: {found}")
                        kept.mkdir(parents=True, exist_ok=True)
                        for side, picture in (("before", one), ("after", other)):
                            (kept / f"{file.name}-{number}-{side}.ppm").write_bytes(picture.read_bytes())
            parts = [] if verdict == "Clean" or "Rebuilt" not in verdict else sorted({one["what"] for one in verdict["Rebuilt"]["removed"]})
            gone = f", without: {' '.join(parts)}" if parts else ""
            print(f"{'ok   ' if not faults else 'WRONG'} {file.name}: {count} pages{gone}{''.join(f'{chr(10)}      {one}' for one in faults)}", flush=True)
            wrong += bool(faults)
        for line in told:
            print(f"WRONG LibreOffice: {line}")
    print(f"{len(files)} files, {wrong} wrong")
    return 1 if wrong or told or not files else 0


sys.exit(main())
