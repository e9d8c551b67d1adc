"""The migration check of Python workflow files: what would not work here, and what could happen twice.

It reads the files with Python's own parser and never imports or runs them. `python3 -I check.py` takes one JSON object on
standard input, `{"files": [{"path", "root", "named"}], "paths": [...]}`, and prints one: `{"python", "files": [...]}`.
"""

import json
import os
import sys

sys.dont_write_bytecode = True
# isolated mode leaves the script's own folder out
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

from centaur_check.file import check_files  # noqa: E402


def main() -> None:
    request = json.load(sys.stdin)
    files = check_files(request["files"], request["paths"])
    python = {"version": ".".join(map(str, sys.version_info[:3])), "executable": sys.executable}
    json.dump({"python": python, "files": files}, sys.stdout)


main()
