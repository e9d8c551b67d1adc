"""
The workflows of this process, by name. A run loads only the file that its name is read off; discovery loads all.

Two files with one name: in one folder the first by path is served and the other is a problem; a later folder shadows an
earlier one.
"""

import os

from .errors import DefinitionError
from .files import only_file, workflow_dirs, workflow_files
from .loading import Problem, Source, load, prepare_imports
from .metadata import Workflow


class Registry:
    def __init__(self, environment=os.environ):
        self.folders = workflow_dirs(environment)
        self.only = only_file(environment, self.folders)
        self.loaded = {}
        prepare_imports(self.folders)

    def find(self, name):
        """The workflow, or None. :raises Problem: of the file that should hold it"""
        problem = None
        for folder in reversed(self.folders or [None]):
            sources = self._sources(folder)
            # a name that is computed is known only when the file is loaded
            computed = any(source.name is None for source in sources)
            for source in sources:
                if not computed and source.name != name:
                    continue
                try:
                    workflow = self._workflow(source)
                except Problem as error:
                    if source.name == name:
                        problem = error
                    continue
                if workflow is not None and workflow.name == name:
                    return workflow
        if problem is not None:
            raise problem
        return None

    def discover(self):
        """Every workflow that is served, in order, and the problems of all files."""
        served, problems = {}, []
        for folder in self.folders or [None]:
            here = {}
            if folder is not None and not os.path.isdir(folder):
                problems.append({"source_path": folder, "message": "there is no such folder"})
            for source in self._sources(folder, problems):
                try:
                    workflow = self._workflow(source)
                    if workflow is None:
                        continue
                    if workflow.name in here:
                        first = here[workflow.name].source_path
                        raise source.problem("WORKFLOW_NAME", f"the name {workflow.name} is taken by {first}, which is served")
                    here[workflow.name] = workflow
                except Problem as problem:
                    problems.append(problem.entry)
            served.update(here)
        return list(served.values()), problems

    def _sources(self, folder, problems=None):
        if self.only is None:
            paths = [] if folder is None else workflow_files(folder)
        else:
            inside = folder is None or os.path.commonpath([folder, self.only]) == folder
            paths = [self.only] if inside or folder == self.folders[0] and not self._holds_only() else []
        sources = []
        for path in paths:
            try:
                source = Source(path, folder if folder and path.startswith(folder + os.sep) else None)
            except OSError as error:
                if problems is not None:
                    problems.append({"source_path": path, "message": f"cannot be read: {error.strerror}"})
                continue
            if source.declares:
                sources.append(source)
        return sources

    def _holds_only(self):
        return any(self.only.startswith(folder + os.sep) for folder in self.folders)

    def _workflow(self, source):
        if source.path not in self.loaded:
            self.loaded[source.path] = self._load(source)
        found = self.loaded[source.path]
        if isinstance(found, Problem):
            raise found
        return found

    def _load(self, source):
        try:
            module = load(source)
            named = hasattr(module, "WORKFLOW_NAME") or hasattr(module, "PROMPT") and hasattr(module, "SLACK_CHANNEL")
            return Workflow(module, source) if named else None
        except Problem as problem:
            return problem
        except DefinitionError as error:
            return source.problem(error.field, str(error))
