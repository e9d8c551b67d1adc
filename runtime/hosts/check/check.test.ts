import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { directory } from '../node/testing.ts';
import { checkPython } from './python.ts';
import { checkWorkflows, type Finding } from './index.ts';

const FIXTURES = fileURLToPath(new URL('fixtures', import.meta.url));
const NOW = new Date('2026-11-20T10:00:00Z');
const fixtures = globSync('*.py', { cwd: FIXTURES }).sort();

/** `#: error: text` at the end of a line, or more than one: what is found there. */
function expected(file: string): string[] {
  return readFileSync(file, 'utf8')
    .split('\n')
    .flatMap((line, index) => [...line.matchAll(/#: (\w+): (.*?)(?= #:|$)/g)].map(([, level, text]) => `${index + 1} ${level} ${text}`));
}

/** What is found, in the words in which it is expected where these are a part of it. */
function found(findings: readonly Finding[], wanted: readonly string[]): string[] {
  return findings.map(({ line, level, message }) => {
    const match = wanted.find((each) => {
      const [at, kind, ...text] = each.split(' ');
      return Number(at) === line && kind === level && message.includes(text.join(' '));
    });
    return match ?? `${line} ${level} ${message}`;
  });
}

// all in one process: starting Python takes most of the time
const checked = checkPython(
  fixtures.map((name) => ({ path: path.join(FIXTURES, name), root: FIXTURES, named: name !== 'name_forgotten.py' })),
  { python: 'python3', paths: [FIXTURES, path.join(FIXTURES, 'installed')], now: NOW },
);

for (const name of [...fixtures, 'shared/labels.py']) {
  test(`all that is wrong with fixtures/${name} is found, and nothing else`, async () => {
    const file = path.join(FIXTURES, name);
    const wanted = expected(file);
    assert.notEqual(wanted.length, 0);
    const findings = (await checked).findings.filter((each) => each.file === file);
    assert.deepEqual(found(findings, wanted).sort(), wanted.toSorted());
  });
}

test('every finding says what to do about it, unless the message does, and points at a character', async () => {
  const { findings } = await checked;
  const without = findings.filter((each) => each.remedy === undefined).map((each) => each.message);
  assert.deepEqual(
    without.filter((message) => !/^(SyntaxError|SCHEDULE|INTERVAL|WEBHOOKS|WORKFLOW_NAME '|the webhook)/.test(message)),
    [],
  );
  const sleep = findings.find((each) => each.message.startsWith('time.sleep'));
  assert.equal(sleep?.remedy, 'await ctx.sleep("name", seconds)');
  const misspelt = findings.find((each) => each.message === 'ctx.step has no argument retries');
  assert.deepEqual([misspelt?.column, misspelt?.remedy], [42, 'did you mean retry?']);
});

test('the original’s own samples have nothing wrong, and what they declare is understood', async () => {
  const root = fileURLToPath(new URL('../python/samples', import.meta.url));
  const { workflows, findings } = await checkPython(
    globSync('**/*.py', { cwd: root }).map((name) => ({ path: path.join(root, name), root, named: true })),
    { python: 'python3', paths: [root], now: NOW },
  );
  assert.deepEqual(
    findings.map((each) => `${path.basename(each.file)} ${each.level} ${each.message}`),
    ['github_issue_triage.py note the weekdays "1-5" count from Sunday = 0 or 7, as in Unix: at 09:00, Monday to Friday, America/New_York'],
  );
  const of = (name: string) => workflows.find((each) => each.file === path.join(root, name));
  const github = { slug: 'github-issue-triage', auth: 'github', trigger_key: 'header x-github-delivery' };
  const [created, migrated] = ['creating', 'migration'].map((guide) => of(`${guide}/github_issue_triage.py`));
  assert.deepEqual([created?.webhooks, migrated?.webhooks], [[github], [github]]);
  const [morning] = migrated?.schedules ?? [];
  assert.deepEqual(morning?.next, ['2026-11-20T14:00:00.000Z', '2026-11-23T14:00:00.000Z', '2026-11-24T14:00:00.000Z']);
});

test('a checked Python file is never run, and no module of its own is imported', async (t) => {
  const dir = directory(t, {
    'a.py': 'import helper\nopen(__file__ + ".ran", "w")\nWORKFLOW_NAME = "a"\nhandler = None\n',
    'helper.py': 'open(__file__ + ".ran", "w")\nraise SystemExit(3)\n',
  });
  const { workflows } = await checkWorkflows([dir.dir]);
  assert.deepEqual(
    workflows.map((each) => each.name),
    ['a'],
  );
  assert.deepEqual(globSync('**/*.ran', { cwd: dir.dir }), []);
});

test('a helper beside a file in a deeper folder is imported from there, or not at all', async (t) => {
  const dir = directory(t, {
    'deep/a.py':
      'import helper\nfrom .helper import x\nfrom deep.helper import x\nWORKFLOW_NAME = "a"\nasync def handler(inp, ctx): return x\n',
    'deep/helper.py': 'x = 1\n',
  });
  const found = async (file: string, dirs: string[]) =>
    (await checkWorkflows([file], { dirs })).findings.map((each) => `${each.line} ${each.message}`);
  const beside = ['1 helper is beside this file, and not where modules are looked for: in the workflow folder'];
  assert.deepEqual(await found(dir.dir, []), beside);
  assert.deepEqual(await found(dir.at('deep/a.py'), [dir.dir]), beside);
  assert.deepEqual(await found(dir.at('deep/a.py'), []), []);
});

test('what the check takes for supported is what the Python host has', () => {
  const hosts = fileURLToPath(new URL('..', import.meta.url));
  const script = `
import importlib, inspect, json, sys
sys.path[:0] = [sys.argv[1] + "check", sys.argv[1] + "python"]
from api.workflow_engine import WorkflowContext
from centaur_check.surface import API, ATTRIBUTES, METHODS
wrong = [f"api.{module}.{name}" for module, names in API.items() for name in names if not hasattr(importlib.import_module(f"api.{module}"), name)]
for name, method in vars(WorkflowContext).items():
    if inspect.isfunction(method) and not name.startswith("_"):
        parameters = [each for each in list(inspect.signature(method).parameters.values())[1:]]
        known = METHODS.get(name, set())
        named = {each.name for each in parameters if each.kind.name != "VAR_KEYWORD"}
        is_open = len(named) < len(parameters)
        if name not in METHODS or known is not None and (named - known or not is_open and known - named):
            wrong.append(f"ctx.{name}({', '.join(sorted(named))})")
assigned = set(inspect.getsource(WorkflowContext.__init__).replace("self.", " self.").split()) 
has = {each.removeprefix("self.") for each in assigned if each.startswith("self.")} | set(vars(WorkflowContext))
wrong += [f"ctx.{name}" for name in [*METHODS, *ATTRIBUTES] if name not in has]
print(json.dumps(wrong))
`;
  const { stdout, stderr } = spawnSync('python3', ['-B', '-c', script, hosts], { encoding: 'utf8' });
  assert.equal(stdout.trim(), '[]', stderr);
});

test('a folder is checked in both languages, and one name, slug or schedule_id for two workflows is an error', async (t) => {
  const python = (name: string, rest = '') => `WORKFLOW_NAME = "${name}"\n${rest}\nasync def handler(inp, ctx): return None\n`;
  const shared = 'WEBHOOKS = {"slug": "s", "auth": {"type": "github", "secret_ref": "S"}, "trigger_key": "k"}';
  const dir = directory(t, {
    'a.ts': `export const WORKFLOW_NAME = 'one';\nexport const handler = () => 1;`,
    'b.py': python('one'),
    'c.py': python('two', shared),
    'deep/d.py': python('three', `${shared}\nSCHEDULE = {"interval_seconds": 5, "schedule_id": "x"}`),
    'e.py': python('four', 'SCHEDULE = {"interval_seconds": 5, "schedule_id": "x"}'),
    '_draft.py': 'nonsense(',
    '.hidden/f.py': 'nonsense(',
    'helper.py': 'x = 1',
  });
  const { workflows, findings } = await checkWorkflows([dir.dir]);
  assert.deepEqual(
    workflows.map((each) => [each.name, each.language]),
    [
      ['one', 'node'],
      ['one', 'python'],
      ['two', 'python'],
      ['three', 'python'],
      ['four', 'python'],
    ],
  );
  assert.deepEqual(
    findings.map((each) => [path.relative(dir.dir, each.file), each.level, each.message.replaceAll(dir.dir, '')]),
    [
      ['b.py', 'error', 'the workflow "one" is also in /a.ts, which is the one in service'],
      ['deep/d.py', 'error', 'the webhook "s" is also that of two in /c.py'],
      ['e.py', 'error', 'the schedule_id "x" is also that of three in /deep/d.py'],
    ],
  );
});

test('a single TypeScript file is checked without those beside it', async (t) => {
  const dir = directory(t, {
    'a.ts': `export const WORKFLOW_NAME = 'a';\nexport const handler = () => 1;\nexport const WEBHOOKS = [{ slug: 'a', auth: { type: 'pgp' } }];`,
    'b.ts': 'throw new Error("was loaded");',
    'c.ts': 'export const helper = 1;',
  });
  const { workflows, findings } = await checkWorkflows([dir.at('a.ts'), dir.at('c.ts'), dir.at('gone.ts')]);
  assert.deepEqual(
    workflows.map((each) => each.name),
    ['a'],
  );
  assert.deepEqual(
    findings.map(({ file, line, message }) => [path.basename(file), line, message.split(':')[0]]),
    [
      ['a.ts', 3, 'WEBHOOKS[0].auth.type'],
      ['c.ts', undefined, 'is no workflow'],
      ['gone.ts', undefined, 'there is no such file'],
    ],
  );
});

test('without a Python that can be started, that is what is said', async (t) => {
  const dir = directory(t, { 'a.py': 'WORKFLOW_NAME = "a"' });
  await assert.rejects(checkWorkflows([dir.dir], { python: '/nowhere/python3' }), /\/nowhere\/python3 cannot be started \(ENOENT\)/);
});
