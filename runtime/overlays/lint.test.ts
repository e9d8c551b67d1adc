import assert from 'node:assert/strict';
import path from 'node:path';
import { test } from 'node:test';
import { parseOverlayList } from '@centaur/kernel/config';
import { lintOverlays, openOverlays } from './index.ts';
import { type Files, folder, SKILL, TOOL, WORKFLOW } from './testing.ts';

async function linted(t: Parameters<typeof folder>[0], ...layers: readonly Files[]): Promise<readonly string[]> {
  const places = layers.map((files) => folder(t, files));
  const state = folder(t);
  const { entries } = parseOverlayList(places.join(), state);
  const overlays = await openOverlays({
    entries,
    stateDir: path.join(state, 'overlays'),
    lockFile: path.join(state, 'centaur.lock'),
    watch: false,
  });
  t.after(() => overlays.close());
  return lintOverlays(overlays).map(({ level, file, line, message }) => {
    const place = places.find((each) => file.startsWith(each)) ?? '';
    const text = places.reduce((all, each, i) => all.replaceAll(path.basename(each), `layer ${i}`), message);
    return `${path.relative(place, file)}${line === undefined ? '' : `:${line}`} ${level}: ${text}`;
  });
}

test('a layer in order has no findings', async (t) => {
  const files = {
    'tools/crm/tool.ts': TOOL('crm'),
    '.agents/skills/a/SKILL.md': SKILL('a'),
    'docs/x.md': '',
    '.github/workflows/ci.yml': '',
  };
  assert.deepEqual(await linted(t, files), []);
});

test('the fields of a SKILL.md, each with its line', async (t) => {
  const findings = await linted(t, {
    '.agents/skills/plain/SKILL.md': 'No front matter.',
    '.agents/skills/nameless/SKILL.md': '---\ndescription: x\n---\n',
    '.agents/skills/other/SKILL.md': '---\ndescription: x\nname: another\n---\n',
    '.agents/skills/silent/SKILL.md': '---\nname: silent\ndescription: ""\n---\n',
    '.agents/skills/long/SKILL.md': `---\nname: long\ndescription: ${'x'.repeat(1025)}\n---\n`,
    '.agents/skills/broken/SKILL.md': '---\nname: broken\ndescription: [x\n---\n',
    '.agents/skills/scalar/SKILL.md': '---\njust words\n---\n',
  });
  for (const expected of [
    /plain\/SKILL\.md:1 error: it has no front matter/,
    /nameless\/SKILL\.md:1 error: name: is required/,
    /other\/SKILL\.md:3 error: name: "another" is not the name of the folder/,
    /silent\/SKILL\.md:3 error: description: expected 1 to 1024 characters, not 0/,
    /long\/SKILL\.md:3 error: description: expected 1 to 1024 characters, not 1025/,
    /broken\/SKILL\.md:\d error: Flow sequence/,
    /scalar\/SKILL\.md:2 error: expected fields/,
  ])
    assert.equal(findings.filter((each) => expected.test(each)).length, 1, `${expected} in\n${findings.join('\n')}`);
  assert.equal(findings.length, 7);
});

test('broken code, folders that nobody reads, and names that hide each other', async (t) => {
  const findings = await linted(
    t,
    { 'workflows/w.ts': WORKFLOW('w'), 'tools/crm/tool.ts': TOOL('crm') },
    {
      'workflows/w.ts': WORKFLOW('w'),
      'workflows/broken.ts': 'export const x = {;\n',
      'tools/a/tool.ts': TOOL('same'),
      'tools/b/tool.ts': TOOL('same'),
      'skills/x/SKILL.md': SKILL('x'),
      'stuff/x': '',
      'policy.yaml': 'allow: everything',
      '.agents/prompts/x.md': '',
      'personas/empty.md': ' \n',
    },
    { 'src/index.ts': '' },
  );
  for (const expected of [
    /^workflows\/broken\.ts error: it does not parse: /,
    /^tools\/b error: the tool "same" is also in /,
    /^personas\/empty\.md error: it has no prompt/,
    /^skills warning: unknown folder: is \.agents\/skills\/ meant\?/,
    /^stuff warning: unknown folder: nothing of it is used/,
    /^src warning: unknown folder/,
    /^\.agents\/prompts warning: unknown folder/,
    /^policy\.yaml warning: it is not read/,
    /^ warning: there is nothing in it that an overlay adds/,
    /^workflows\/w\.ts note: the workflow "w" hides that of layer 0/,
  ])
    assert.equal(findings.filter((each) => expected.test(each)).length, 1, `${expected} in\n${findings.join('\n')}`);
  assert.equal(findings.length, 10, findings.join('\n'));
});
