"""Which files may hold workflows: every `*.py` below the folders, but for hidden ones and those that begin with `_`."""

import os


def workflow_dirs(environment):
    """The folders of `WORKFLOW_DIRS`, absolute, each once."""
    given = (environment.get("WORKFLOW_DIRS") or "").split(":")
    return list(dict.fromkeys(os.path.realpath(each) for each in given if each))


def workflow_files(folder):
    """Absolute paths, in the order in which names are given away."""
    found = []
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not hidden(name)]
        found += [os.path.join(place, name) for name in names if name.endswith(".py") and not hidden(name)]
    return sorted(found)


def hidden(name):
    return name.startswith((".", "_"))


def only_file(environment, folders):
    """The file of `WORKFLOW_FILE`, or None when there is no such limit."""
    given = environment.get("WORKFLOW_FILE")
    if not given:
        return None
    places = [os.path.join(folder, given) for folder in reversed(folders)] + [given]
    return os.path.realpath(next((place for place in places if os.path.isfile(place)), given))
