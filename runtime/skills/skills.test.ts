import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync } from 'node:fs';
import path from 'node:path';
import { test, type TestContext } from 'node:test';
import { readLayer, readSkills, withoutGrants } from './index.ts';
import { makeFolder, skillText, withSkills, write } from '../../test/support/skills.ts';

const TEA = { name: 'tea', description: 'Makes tea.' };

/** What is said of a folder of skills with these files. */
function problemsOf(t: TestContext, files: Readonly<Record<string, string | Buffer>>): string[] {
  const folder = makeFolder(t);
  write(folder, files);
  return readSkills(folder).problems.map(
    ({ file, line, message }) => `${path.relative(folder, file)}${line === undefined ? '' : `:${line}`}: ${message}`,
  );
}

test('a skill is a folder: what SKILL.md says, and its files', (t) => {
  const folder = makeFolder(t);
  const fields =
    'license: Apache-2.0\ncompatibility: needs a kettle\nallowed-tools: Read Bash(git add:*)\nmetadata: {author: ada, version: 1.0}\nuser-invocable: true\n';
  write(folder, {
    'tea/SKILL.md': skillText({ ...TEA, fields }),
    'tea/scripts/boil.sh': '#!/bin/sh\necho hot\n',
    'tea/.git/config': 'left out',
    '_draft/SKILL.md': 'left out',
    'README.md': 'left out',
  });
  const { skills, problems } = readSkills(folder);
  assert.deepEqual(problems, []);
  const [skill, ...others] = skills;
  assert.ok(skill !== undefined && others.length === 0);
  const { name, description, license, compatibility, allowedTools, metadata } = skill;
  assert.deepEqual(
    { name, description, license, compatibility, allowedTools, metadata },
    {
      ...TEA,
      license: 'Apache-2.0',
      compatibility: 'needs a kettle',
      allowedTools: ['Read', 'Bash(git add:*)'],
      metadata: { author: 'ada', version: '1' },
    },
  );
  assert.deepEqual(
    skill.files.map((file) => [file.path, file.executable]),
    [
      ['SKILL.md', false],
      ['scripts/boil.sh', true],
    ],
  );
});

test('the same content has the same version, and any change another', (t) => {
  const versionOf = (files: Record<string, string>): string => {
    const folder = makeFolder(t);
    write(folder, { 'tea/SKILL.md': skillText(TEA), ...files });
    return readSkills(folder).skills[0]?.version ?? '';
  };
  const versions = [{}, { 'tea/a': 'x' }, { 'tea/b': 'x' }, { 'tea/a.sh': 'x' }].map(versionOf);
  assert.equal(new Set(versions).size, 4);
  assert.equal(versionOf({ 'tea/a': 'x' }), versions[1]);
});

test('what is wrong with a skill is said with its line, and the others are there', (t) => {
  const folder = makeFolder(t);
  write(folder, { 'tea/SKILL.md': skillText(TEA), 'cup/SKILL.md': '---\nname: cup\ndescription: 7\n---\n' });
  const { skills, problems } = readSkills(folder);
  assert.deepEqual(
    skills.map(({ name }) => name),
    ['tea'],
  );
  assert.deepEqual(problems, [
    { file: path.join(folder, 'cup', 'SKILL.md'), line: 3, column: 1, message: 'description: expected a text; put it in quotes' },
  ]);
});

const SAID: readonly [what: string, files: Readonly<Record<string, string | Buffer>>, said: RegExp][] = [
  ['no SKILL.md', { 'tea/notes.md': '' }, /^tea: it has no SKILL\.md$/],
  ['one that is named otherwise', { 'tea/skill.md': '' }, /^tea: it has no SKILL\.md; rename skill\.md$/],
  ['no front matter', { 'tea/SKILL.md': '# Tea' }, /^tea\/SKILL\.md:1: it has no front matter/],
  ['front matter without an end', { 'tea/SKILL.md': '---\nname: tea\n' }, /^tea\/SKILL\.md:1: .*no end/],
  ['no description', { 'tea/SKILL.md': '---\nname: tea\n---\n' }, /^tea\/SKILL\.md:1: description: is required/],
  ['an empty description', { 'tea/SKILL.md': skillText({ ...TEA, description: ' ' }) }, /:3: description: expected 1 to 1024/],
  ['a long description', { 'tea/SKILL.md': skillText({ ...TEA, description: 'x'.repeat(1025) }) }, /:3: description: .*not 1025/],
  ['a description with an escape', { 'tea/SKILL.md': '---\nname: tea\ndescription: "\\e[2J"\n---\n' }, /:3: description: control/],
  ['another name', { 'tea/SKILL.md': skillText({ ...TEA, name: 'coffee' }) }, /:2: name: "coffee" is not the name of the folder, "tea"/],
  ['a name with capitals', { 'Tea/SKILL.md': skillText(TEA) }, /^Tea: "Tea" is no name for a skill: expected lower case/],
  ['a name with --', { 'te--a/SKILL.md': skillText(TEA) }, /"te--a" is no name/],
  ['a field that comes twice', { 'tea/SKILL.md': skillText({ ...TEA, fields: 'license: a\nlicense: b\n' }) }, /:5: .*unique/],
  [
    'metadata in metadata',
    { 'tea/SKILL.md': skillText({ ...TEA, fields: 'metadata: {a: {b: c}}\n' }) },
    /:4: metadata\.a: expected a text/,
  ],
  ['a list', { 'tea/SKILL.md': '---\n- name\n---\n' }, /:2: expected fields/],
  ['bad YAML', { 'tea/SKILL.md': '---\nname: [tea\n---\n' }, /^tea\/SKILL\.md:\d/],
  ['an alias', { 'tea/SKILL.md': skillText({ ...TEA, fields: 'a: &a [x]\nb: [*a, *a]\n' }) }, /:4: anchors and aliases/],
  ['a tag', { 'tea/SKILL.md': skillText({ ...TEA, fields: 'a: !!js/function "x"\n' }) }, /:4: .*tag/i],
  ['depth', { 'tea/SKILL.md': skillText({ ...TEA, fields: `a: ${'['.repeat(20)}${']'.repeat(20)}\n` }) }, /nested too deeply/],
  ['abysmal depth', { 'tea/SKILL.md': skillText({ ...TEA, fields: `a: ${'['.repeat(7000)}${']'.repeat(7000)}\n` }) }, /nested too deeply/],
  ['large front matter', { 'tea/SKILL.md': skillText({ ...TEA, fields: `a: ${'x'.repeat(17_000)}\n` }) }, /:2: .*larger than 16 KiB/],
  ['a large SKILL.md', { 'tea/SKILL.md': skillText({ ...TEA, body: 'x'.repeat(300_000) }) }, /SKILL\.md is larger than 256 KiB/],
  ['what is not UTF-8', { 'tea/SKILL.md': Buffer.from([0x2d, 0x2d, 0x2d, 0x0a, 0xff]) }, /^tea: it is not UTF-8/],
  ['NUL', { 'tea/SKILL.md': skillText({ ...TEA, body: 'a\nb\0' }) }, /:6: it holds a NUL/],
  ['much data', { 'tea/SKILL.md': skillText(TEA), 'tea/big': Buffer.alloc(5 * 1024 * 1024) }, /with "big" it is larger than 4 MiB/],
  ['a strange name', { 'tea/SKILL.md': skillText(TEA), 'tea/a\nb': '' }, /the name of "a\\nb" has characters/],
  ['deep folders', { 'tea/SKILL.md': skillText(TEA), [`tea/${'a/'.repeat(12)}x`]: '' }, /nested more than 8 deep/],
];

for (const [what, files, said] of SAID)
  test(`a skill with ${what} is left out, and that is said`, (t) => {
    const problems = problemsOf(t, files);
    assert.equal(problems.length, 1, problems.join('\n'));
    assert.match(problems[0] ?? '', said);
  });

test('more files than anybody needs are refused', (t) => {
  const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`tea/f${i}`, '']));
  assert.match(problemsOf(t, { 'tea/SKILL.md': skillText(TEA), ...many })[0] ?? '', /^tea: it has more than 256 files$/);
});

test('no link is followed, and nothing is waited for', (t) => {
  const folder = makeFolder(t);
  const secret = makeFolder(t);
  write(secret, { 'SKILL.md': skillText({ ...TEA, name: 'away' }), key: 'secret' });
  write(folder, { 'tea/SKILL.md': skillText(TEA), 'cup/SKILL.md': skillText({ ...TEA, name: 'cup' }), 'pot/notes': '' });
  symlinkSync(secret, path.join(folder, 'away'));
  symlinkSync(path.join(secret, 'key'), path.join(folder, 'tea', 'key'));
  symlinkSync(path.join(secret, 'SKILL.md'), path.join(folder, 'pot', 'SKILL.md'));
  execFileSync('mkfifo', [path.join(folder, 'cup', 'pipe')]);
  const { skills, problems } = readSkills(folder);
  assert.deepEqual(skills, []);
  assert.deepEqual(
    problems.map(({ file, message }) => `${path.basename(file)}: ${message}`),
    [
      'away: it is a link, and links are not followed',
      'cup: "pipe": it is no ordinary file',
      'pot: "SKILL.md": it is a link, and links are not followed',
      'tea: "key": it is a link, and links are not followed',
    ],
  );
});

test('the places of a layer are no links either', (t) => {
  const [folder, other, away] = [makeFolder(t), makeFolder(t), makeFolder(t)];
  write(away, { 'skills/tea/SKILL.md': skillText(TEA), 'tea/SKILL.md': skillText(TEA), 'key.md': 'secret' });
  symlinkSync(away, path.join(folder, '.agents'));
  symlinkSync(away, path.join(folder, 'personas'));
  mkdirSync(path.join(other, '.agents'));
  symlinkSync(away, path.join(other, '.agents', 'skills'));
  for (const layer of [readLayer(folder), readLayer(other)]) {
    assert.deepEqual([layer.skills, layer.personas], [[], []]);
    assert.match(layer.problems[0]?.message ?? '', /it is a link, and links are not followed/);
  }
});

test('a layer brings skills, personas and a text for all agents', (t) => {
  const folder = makeFolder(t);
  write(folder, {
    '.agents/skills/tea/SKILL.md': skillText(TEA),
    'personas/brief.md': 'Be brief.\n',
    'personas/reviewer/PROMPT.md':
      '---\nname: reviewer\ndescription: Reviews.\nharness: codex\nmodel: small\neffort: low\ntools: [github, slack]\nskills: tea, cup\n---\n\nReview it.\n',
    'personas/README.md': 'left out',
    'SYSTEM_PROMPT.md': 'We are Acme.\r\nBe kind.\n',
  });
  const layer = readLayer(folder);
  assert.deepEqual(layer.problems, []);
  assert.deepEqual([layer.skills.map(({ name }) => name), layer.systemPrompt], [['tea'], 'We are Acme.\nBe kind.']);
  const [brief, reviewer] = layer.personas;
  assert.deepEqual([brief?.name, brief?.prompt, brief?.tools, brief?.harness], ['brief', 'Be brief.', undefined, undefined]);
  const { source: _, sha256, ...said } = reviewer ?? assert.fail('there is no reviewer');
  assert.deepEqual(said, {
    name: 'reviewer',
    description: 'Reviews.',
    prompt: 'Review it.',
    harness: 'codex',
    model: 'small',
    effort: 'low',
    tools: ['github', 'slack'],
    skills: ['tea', 'cup'],
  });
  assert.match(sha256, /^[\da-f]{64}$/);
});

test('a folder that brings nothing is no problem', (t) => {
  const { skills, personas, systemPrompt, problems } = readLayer(makeFolder(t));
  assert.deepEqual({ skills, personas, systemPrompt, problems }, { skills: [], personas: [], systemPrompt: undefined, problems: [] });
});

for (const [what, name, text, said] of [
  ['an unknown field', 'p.md', '---\ntool: [a]\n---\nx', /:2: tool: unknown field; there are name, description, harness/],
  ['an unknown harness', 'p.md', '---\nharness: gpt\n---\nx', /:2: harness: expected one of demo, claude, codex, pi, amp/],
  ['an unknown effort', 'p.md', '---\nmodel: a\neffort: huge\n---\nx', /:3: effort: expected one of low, medium, high, max/],
  ['no prompt', 'p.md', '---\nmodel: a\n---\n', /p\.md: it has no prompt/],
  ['tools that are no texts', 'p.md', '---\ntools: [1]\n---\nx', /:2: tools: expected a list of texts/],
  ['a name that is none', 'Big One.md', 'x', /"Big One" is no name for a persona/],
  ['another name', 'p.md', '---\nname: q\n---\nx', /:2: name: "q" is not the name of the file, "p"/],
  ['a long prompt', 'p.md', 'x'.repeat(100_001), /more than 100000 characters/],
  ['no file', 'p/other.md', 'x', /p\/PROMPT\.md: it cannot be read: .*ENOENT/],
] as const)
  test(`a persona with ${what} is left out, and that is said`, (t) => {
    const folder = makeFolder(t);
    write(folder, { [`personas/${name}`]: text });
    const { personas, problems } = readLayer(folder);
    assert.deepEqual([personas.length, problems.length], [0, 1]);
    const [{ file, line, message }] = problems as [(typeof problems)[number]];
    assert.match(`${file}${line === undefined ? '' : `:${line}`}: ${message}`, said);
  });

test('a persona that is there twice is the first, and that is said', (t) => {
  const folder = makeFolder(t);
  write(folder, { 'personas/p.md': 'one', 'personas/p/PROMPT.md': 'two' });
  const { personas, problems } = readLayer(folder);
  assert.equal(personas.length, 1);
  assert.match(problems[0]?.message ?? '', /the persona p is in p.* already; keep one of them/);
});

test('without its grants a skill says only what the format describes', (t) => {
  const fields = 'allowed-tools: Bash(*)\nhooks: {PreToolUse: x}\nlicense: MIT\nmetadata: {a: b}\n';
  const [skill] = withSkills(t, [{ ...TEA, fields, body: '\n# Tea\n---\nBoil.\n' }]).skills();
  assert.ok(skill);
  const plain = withoutGrants(skill);
  assert.equal(
    plain.files[0]?.data.toString(),
    '---\nname: tea\ndescription: Makes tea.\nlicense: MIT\nmetadata:\n  a: b\n---\n\n# Tea\n---\nBoil.\n',
  );
  assert.deepEqual(plain.allowedTools, []);
  assert.notEqual(plain.version, skill.version);
});
