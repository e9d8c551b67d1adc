/** The sample of a skill: instructions, and a script that they use. */
import type { Files } from './files.ts';
import type { Name } from './names.ts';

export function nodeSkill({ given }: Name): Files {
  return {
    'SKILL.md': skill(given, `node scripts/notes.mjs`),
    'scripts/notes.mjs': `#!/usr/bin/env node
/** Subjects of commits on stdin, one a line; release notes on stdout. */
import { realpathSync } from 'node:fs';
import { text } from 'node:stream/consumers';
import { fileURLToPath } from 'node:url';

const HEADINGS = { feat: 'New', fix: 'Mended', docs: 'Documents' };

/** @param {string} subjects */
export function notes(subjects) {
  const groups = new Map([...Object.values(HEADINGS), 'Other'].map((heading) => [heading, []]));
  for (const line of subjects.split('\\n').map((each) => each.trim())) {
    if (line === '') continue;
    const [, type, rest] = /^(\\w+)(?:\\([^)]*\\))?!?:\\s*(.+)$/.exec(line) ?? [];
    groups.get(HEADINGS[type] ?? 'Other').push(HEADINGS[type] === undefined ? line : rest);
  }
  return [...groups]
    .filter(([, lines]) => lines.length > 0)
    .map(([heading, lines]) => \`## \${heading}\\n\\n\${lines.map((line) => \`- \${line}\`).join('\\n')}\\n\`)
    .join('\\n');
}

if (process.argv[1] !== undefined && realpathSync(process.argv[1]) === fileURLToPath(import.meta.url))
  process.stdout.write(notes(await text(process.stdin)));
`,
    'scripts/notes.test.mjs': `/** Run it with: node --test */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { notes } from './notes.mjs';

const folder = fileURLToPath(new URL('..', import.meta.url));

test('subjects are put under headings, and none is lost', () => {
  assert.equal(
    notes('fix(door): oil the hinge\\nfeat: a window\\nMove the table\\n'),
    '## New\\n\\n- a window\\n\\n## Mended\\n\\n- oil the hinge\\n\\n## Other\\n\\n- Move the table\\n',
  );
});

test('it runs as a program', () => {
  const said = execFileSync(process.execPath, [path.join(folder, 'scripts/notes.mjs')], { input: 'docs: say how\\n', encoding: 'utf8' });
  assert.equal(said, '## Documents\\n\\n- say how\\n');
});

test('the skill is named like its folder, and says when to use it', () => {
  const [, head = ''] = readFileSync(path.join(folder, 'SKILL.md'), 'utf8').split('---\\n');
  assert.equal(/^name: (.+)$/m.exec(head)?.[1], path.basename(folder));
  assert.match(head, /^description: .*Use /m);
});
`,
  };
}

export function pythonSkill({ given }: Name): Files {
  return {
    'SKILL.md': skill(given, `python3 scripts/notes.py`),
    'scripts/notes.py': `#!/usr/bin/env python3
"""Subjects of commits on stdin, one a line; release notes on stdout."""

import re
import sys

HEADINGS = {"feat": "New", "fix": "Mended", "docs": "Documents"}


def notes(subjects):
    groups = {heading: [] for heading in [*HEADINGS.values(), "Other"]}
    for line in filter(None, (each.strip() for each in subjects.splitlines())):
        found = re.match(r"(\\w+)(?:\\([^)]*\\))?!?:\\s*(.+)", line)
        heading = HEADINGS.get(found[1]) if found else None
        groups[heading or "Other"].append(found[2] if heading else line)
    parts = (f"## {heading}\\n\\n" + "".join(f"- {line}\\n" for line in lines) for heading, lines in groups.items() if lines)
    return "\\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(notes(sys.stdin.read()))
`,
    'scripts/test_notes.py': `"""Run it in this folder with: python3 -m unittest"""

import pathlib
import re
import subprocess
import sys
import unittest

from notes import notes

FOLDER = pathlib.Path(__file__).resolve().parent.parent


class NotesTest(unittest.TestCase):
    def test_subjects_are_put_under_headings_and_none_is_lost(self):
        self.assertEqual(
            notes("fix(door): oil the hinge\\nfeat: a window\\nMove the table\\n"),
            "## New\\n\\n- a window\\n\\n## Mended\\n\\n- oil the hinge\\n\\n## Other\\n\\n- Move the table\\n",
        )

    def test_it_runs_as_a_program(self):
        said = subprocess.run(
            [sys.executable, FOLDER / "scripts/notes.py"], input="docs: say how\\n", capture_output=True, text=True, check=True
        )
        self.assertEqual(said.stdout, "## Documents\\n\\n- say how\\n")

    def test_the_skill_is_named_like_its_folder_and_says_when_to_use_it(self):
        head = (FOLDER / "SKILL.md").read_text().split("---\\n")[1]
        self.assertEqual(re.search(r"^name: (.+)$", head, re.M)[1], FOLDER.name)
        self.assertRegex(head, r"(?m)^description: .*Use ")


if __name__ == "__main__":
    unittest.main()
`,
  };
}

function skill(given: string, command: string): string {
  return `---
name: ${given}
description: Writes release notes from the commits of a Git repository. Use it when somebody asks what has changed between two versions.
---

# Release notes

1. Find the two versions: \`git describe --tags --abbrev=0\` tells the last one; ask if it is not clear which are meant.
2. In this skill's folder, run \`${command}\` with the subjects of the commits as its input:
   \`git -C REPOSITORY log --no-merges --format=%s OLD..NEW | ${command}\`
3. Read what it writes. Put lines that say the same into one, and leave out what nobody outside of the team would notice.
4. Under *New*, say for each line what somebody can do now. Do not add anything that no commit says.
`;
}
