import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { createTools } from '../kernel/tools/index.ts';
import { ADMIN, startTestApi, type TestApi } from '../test/support/api.ts';
import { createPlace, type Place } from '../test/support/cli.ts';
import { createScriptedRunner, type ScriptedRunner, SHOP, Told } from '../test/support/tools.ts';

const CRM = {
  name: 'crm',
  description: 'Customers.',
  secrets: [
    { name: 'CRM_KEY', hosts: ['api.crm.example'], methods: ['GET'], paths: ['/v1/*'], match_headers: ['authorization'] },
    { name: 'CRM_EXTRA', hosts: ['extra.crm.example'], optional: true },
  ],
  hosts: ['docs.crm.example'],
  methods: {
    find: { description: 'Finds a customer.', risk: 'read', input: { type: 'object', properties: { name: { type: 'string' } } } },
  },
};

let api: TestApi;
let place: Place;
let runner: ScriptedRunner;

before(async () => {
  runner = createScriptedRunner();
  runner.serve(SHOP, CRM);
  api = await startTestApi({
    idle: true,
    vault: 'with a firewall',
    toolsOn: (installation, log) => createTools({ store: installation.store, installation, runner, log }),
  });
  place = createPlace({ CENTAUR_API_URL: api.url, CENTAUR_API_KEY: ADMIN });
});
after(async () => {
  await place[Symbol.asyncDispose]();
  await api[Symbol.asyncDispose]();
});

const run = (args: readonly string[], options?: Parameters<Place['run']>[1]) => place.run(['tools', ...args], options);

/** Files of tools, in a folder of this test's own. */
function written(name: string, files: Readonly<Record<string, string>>): string {
  const folder = path.join(place.folder, name);
  for (const [file, text] of Object.entries(files)) {
    mkdirSync(path.dirname(path.join(folder, file)), { recursive: true });
    writeFileSync(path.join(folder, file), text);
  }
  return folder;
}

test('tools are listed with what they lack, and shown with what they may reach', async () => {
  const [listed, asJson, crm, shop, shopAsJson, unknown] = await Promise.all([
    run(['ls']),
    run(['ls', '--json']),
    run(['show', 'crm']),
    run(['show', 'shop']),
    run(['show', 'shop', '--json']),
    run(['show', 'nothing']),
  ]);
  assert.deepEqual([listed.code, listed.stderr], [0, '']);
  assert.match(listed.stdout, /^TOOL +METHODS +STATE +WHAT IT IS FOR\ncrm +1 +needs CRM_KEY +Customers\.\nshop +4 +ready +A shop\.\n$/);
  const { items, problems } = JSON.parse(asJson.stdout);
  assert.deepEqual([items.map((each: { name: string }) => each.name), problems], [['crm', 'shop'], []]);

  const { stdout } = crm;
  assert.match(
    stdout,
    /^crm {2}Customers\.\n {2}needs centaur secrets set CRM_KEY --for crm\n\nMethods\n {2}find\(name\?\) {2}read\n {6}Finds a customer\.\n/,
  );
  assert.match(stdout, /^ {2}api\.crm\.example {2}with CRM_KEY {2}GET \/v1\/\*$/m);
  assert.match(stdout, /^ {2}extra\.crm\.example {2}with CRM_EXTRA, if it is there$/m);
  assert.match(stdout, /^ {2}docs\.crm\.example {2}without a secret$/m);
  assert.match(shop.stdout, /^ {2}create\(item\) {2}write$[^]*^ {2}remove\(id\?\) {2}destructive$[^]*^Reaches\n {2}nothing$/m);
  assert.equal(JSON.parse(shopAsJson.stdout).methods.length, 4);

  assert.equal(unknown.code, 5);
  assert.match(unknown.stderr, /^error: .*nothing/);
});

test('a call takes its arguments as text, from a file or stdin, and prints the result', async () => {
  const args = { status: 'open' };
  const text = JSON.stringify(args);
  const file = place.write('args.json', text);
  for (const [given, stdin] of [
    [text, undefined],
    [`@${file}`, undefined],
    ['-', text],
  ] as const) {
    const called = await run(['call', 'shop', 'list', given], stdin === undefined ? {} : { stdin });
    assert.deepEqual([called.code, called.stderr], [0, ''], given);
    assert.deepEqual(JSON.parse(called.stdout), { args: { status: 'open', limit: 10 } }, given);
  }
  const none = JSON.parse((await run(['call', 'shop', 'list', '--json'])).stdout);
  assert.deepEqual([none.tool, none.method, none.result], ['shop', 'list', { args: { limit: 10 } }]);
  const act = runner.act;
  runner.act = async () => 'as it \u001b[31mis';
  const shown = await run(['call', 'shop', 'list']);
  runner.act = act;
  assert.match(shown.stdout, /^as it /);
  assert.equal(shown.stdout.includes('\u001b'), false, 'a tool does not write to the terminal');
});

test('a call under a key is made once', async () => {
  const before = runner.dispatched.length;
  const once = ['call', 'shop', 'create', '{"item":"tea"}', '--key', 'order-1'];
  const [first, second] = [await run(once), await run(once)];
  assert.deepEqual([first.code, second.stdout], [0, first.stdout]);
  assert.equal(runner.dispatched.length - before, 1);
  const other = await run(['call', 'shop', 'create', '{"item":"milk"}', '--key', 'order-1']);
  assert.equal(other.code, 1);
  assert.match(other.stderr, /one request/);
  assert.equal(runner.dispatched.length - before, 1);
});

test('the tools of a server are written as types, and what was written is known again', async () => {
  const file = path.join(place.folder, 'served.d.ts');
  const printed = await run(['types']);
  assert.deepEqual([printed.code, printed.stderr], [0, '']);
  assert.match(
    printed.stdout,
    /^ {4}readonly crm: \{\n {6}\/\*\* Finds a customer\. \*\/\n {6}readonly find: \{\n {8}readonly args: \{\n {10}readonly name\?: string;$/m,
  );
  const first = await run(['types', '--out', file, '--json']);
  const { written, tools, types } = JSON.parse(first.stdout);
  assert.deepEqual(
    [written, tools[0], types, readFileSync(file, 'utf8')],
    [true, { name: 'crm', methods: ['find'] }, printed.stdout, printed.stdout],
  );
  assert.match((await run(['types', '--out', file])).stdout, /served\.d\.ts: 2 tools, as it was\n$/);
  const wrong = await run(['types', '--out', path.join(place.folder, 'served.ts')]);
  assert.deepEqual([wrong.code, /--out: expected a name that ends in \.d\.ts/.test(wrong.stderr)], [2, true]);
});

test('types of tools in a folder need no server; of broken ones none are written', async () => {
  const dir = written('typed', {
    'rota/tool.ts': `import { defineTool, method } from '@centaur/sdk';
export default defineTool({
  description: 'Who is on call.',
  methods: {
    who: method({
      description: 'One person.',
      risk: 'read',
      input: { type: 'object', properties: { week: { type: 'integer' } }, required: ['week'] },
      output: { type: 'object', properties: { person: { type: 'string' } }, required: ['person'] },
      run: () => ({ person: 'Ada' }),
    }),
  },
});
`,
    'words/pyproject.toml': '[project]\ndescription = "Words."\n[tool.centaur]\n',
    'words/client.py': `class Client:
    def count(self, text: str, longest: int = 20) -> dict:
        """Counts."""
        return {}


def _client():
    return Client()
`,
  });
  const env = { CENTAUR_API_URL: 'http://127.0.0.1:1' };
  const { code, stdout, stderr } = await run(['types', '--dir', dir], { env });
  assert.deepEqual([code, stderr], [0, '']);
  assert.match(stdout, /readonly week: number;\n {8}\};\n {8}readonly result: \{\n {10}readonly person: string;/);
  assert.match(stdout, /readonly longest\?: number;\n {10}readonly text: string;/);

  written('typed', { 'broken/tool.ts': 'export default {};\n' });
  const file = path.join(place.folder, 'broken.d.ts');
  const refused = await run(['types', '--dir', dir, '--out', file], { env });
  assert.deepEqual([refused.code, existsSync(file)], [1, false]);
  assert.match(refused.stderr, /broken\/tool\.ts[^]*1 problem with the files of tools: nothing was written/);
});

test('a call that cannot be made says why, with an exit code', async () => {
  await publishPolicyThatRefuses();
  const before = runner.dispatched.length;
  const cases = [
    [['shop', 'list', '{'], 2, /arguments/],
    [['shop', 'list', '[1]'], 2, /arguments: expected a JSON object/],
    [['shop', 'list', '@gone.json'], 2, /gone\.json/],
    [['nothing', 'list'], 5, /nothing/],
    [['shop', 'nothing'], 5, /nothing/],
    [['shop', 'create', '{"item": 7}'], 1, /item/],
    [['crm', 'find'], 1, /centaur secrets set CRM_KEY/],
    [['shop', 'remove', '{"id": "7"}'], 4, /nobody removes/],
  ] as const;
  const called = await Promise.all(cases.map(([args]) => run(['call', ...args])));
  for (const [i, [args, code, said]] of cases.entries()) {
    assert.deepEqual([called[i]?.code, called[i]?.stdout], [code, ''], `${args.join(' ')}: ${called[i]?.stderr}`);
    assert.match(called[i]?.stderr ?? '', said, args.join(' '));
  }
  assert.equal(runner.dispatched.length, before);

  const act = runner.act;
  runner.act = async () => {
    throw new Told({ ok: false, code: 'OUT_OF_TEA', message: 'there is no tea', retryable: false, started: true });
  };
  const create = ['call', 'shop', 'create', '{"item":"tea"}'];
  const [failed, asJson] = await Promise.all([run(create), run([...create, '--json'])]);
  runner.act = act;
  assert.deepEqual([failed.code, failed.stdout], [1, '']);
  assert.match(failed.stderr, /there is no tea/);
  assert.equal(JSON.parse(asJson.stderr).details.tool_code, 'OUT_OF_TEA');
});

async function publishPolicyThatRefuses(): Promise<void> {
  const file = place.write(
    'policy.yaml',
    `version: 1
default: deny
rules:
  - {id: no-removing, tool: shop.remove, effect: deny, message: nobody removes orders}
  - {id: shop, tool: shop.*, effect: allow}
  - {id: crm, tool: crm.*, effect: allow}
`,
  );
  const published = await place.run(['policy', 'publish', file]);
  assert.equal(published.code, 0, published.stderr);
}

test('a secret is set as the tool declares it, and the tool is ready', async () => {
  const value = 'crm-CANARY-0123456789';
  const set = (name: string, ...more: string[]) =>
    place.run(['secrets', 'set', name, '--for', 'crm', '--value-stdin', ...more], { stdin: value });
  const done = await set('CRM_KEY');
  assert.deepEqual(
    [done.code, done.stdout, done.stderr],
    [0, 'CRM_KEY may go to api.crm.example\ntool:crm may use it, as it declares\n', ''],
  );
  const { hosts, methods, paths, places } = JSON.parse((await place.run(['secrets', 'show', 'CRM_KEY', '--json'])).stdout);
  assert.deepEqual([hosts, methods, paths, places.headers], [['api.crm.example'], ['GET'], ['/v1/*'], ['authorization']]);
  assert.equal((await run(['call', 'crm', 'find'])).code, 0);
  assert.match((await run(['ls'])).stdout, /^crm +1 +ready/m);
  const [foreign, nobody] = await Promise.all([
    set('OTHER_KEY'),
    place.run(['secrets', 'set', 'CRM_KEY', '--for', 'nobody', '--value-stdin'], { stdin: value }),
  ]);
  assert.deepEqual([foreign.code, nobody.code], [2, 5]);
  assert.match(foreign.stderr, /--for: crm asks for CRM_KEY, CRM_EXTRA, and not for OTHER_KEY/);
});

const GOOD = `import { defineTool, method } from '@centaur/sdk';
export default defineTool({
  description: 'Tells the time.',
  hosts: ['time.example'],
  methods: { now: method({ description: 'Now.', risk: 'read', run: () => Date.now() }) },
});
`;
const MANIFEST = '[project]\ndescription = "Counts."\n[tool.centaur]\nhosts = ["count.example"]\n';
const CLIENT =
  'class Client:\n    def count(self, to: int):\n        """Counts."""\n        return to\ndef _client():\n    return Client()\n';

test('files of tools are checked without a server: good ones are shown', async () => {
  const folder = written('good', { 'clock/tool.ts': GOOD, 'kit/counter/pyproject.toml': MANIFEST, 'kit/counter/client.py': CLIENT });
  const env = { CENTAUR_API_URL: 'http://127.0.0.1:1', CENTAUR_API_KEY: '' };
  const [all, alone, json, byVariable] = await Promise.all([
    run(['check', folder], { env }),
    run(['check', path.join(folder, 'clock')], { env }),
    run(['check', path.join(folder, 'kit/counter'), '--json'], { env }),
    run(['check'], { env: { ...env, TOOL_DIRS: folder } }),
  ]);
  assert.equal(all.code, 0, all.stdout + all.stderr);
  assert.match(
    all.stdout,
    /^clock {2}Tells the time\.\n\nMethods\n {2}now\(\) {2}read\n {6}Now\.\n\nReaches\n {2}time\.example {2}without a secret\n/,
  );
  assert.match(all.stdout, /^counter {2}Counts\.$[^]*^ {2}count\(to\) {2}\w+$[^]*\n2 tools, 0 problems\n$/m);
  assert.deepEqual(
    [alone.code, alone.stdout.startsWith('clock '), alone.stdout.endsWith('\n1 tool, 0 problems\n')],
    [0, true, true],
    alone.stdout,
  );
  const { tools, problems } = JSON.parse(json.stdout);
  assert.deepEqual([json.code, tools.map((each: { name: string }) => each.name), problems], [0, ['counter'], []]);
  assert.equal(byVariable.stdout, all.stdout);
});

test('of broken ones, each is named with what is wrong and where', async () => {
  const folder = written('broken', {
    'fine/tool.ts': GOOD,
    'syntax/tool.ts': 'export default {\n  a: ,\n};\n',
    'throws/tool.ts': 'throw new Error("on its way up");\n',
    'none/tool.ts': 'export const nothing = 1;\n',
    'risk/tool.ts': GOOD.replace("risk: 'read'", "risk: 'harmless'"),
    'field/tool.ts': GOOD.replace('hosts:', 'host:'),
    'schema/tool.ts': GOOD.replace("risk: 'read'", "risk: 'read', input: { type: 'array' }"),
    'secret/tool.ts': GOOD.replace('hosts:', "secrets: [{ name: 'DATABASE_URL', hosts: ['a.example'] }], hosts:"),
    'twin/tool.ts': GOOD.replace('description:', "name: 'fine', description:"),
    'both/tool.ts': GOOD,
    'both/tool.js': '',
    'pysyntax/pyproject.toml': MANIFEST,
    'pysyntax/client.py': 'def _client(:\n    pass\n',
    'noclient/pyproject.toml': MANIFEST,
    'noclient/client.py': 'x = 1\n',
    'toml/pyproject.toml': '[tool.centaur]\nhosts = [\n',
    'toml/client.py': CLIENT,
  });
  const [text, json] = await Promise.all([run(['check', folder]), run(['check', folder, '--json'])]);
  assert.deepEqual([text.code, json.code], [1, 1]);
  const { tools, problems } = JSON.parse(json.stdout) as {
    tools: { name: string }[];
    problems: { file: string; line?: number; message: string }[];
  };
  assert.deepEqual(
    tools.map(({ name }) => name),
    ['fine'],
  );
  const wrong = new Map(problems.map((each) => [path.relative(folder, each.file).split('/')[0], each]));
  for (const [tool, line, said] of [
    ['syntax', 2, /./],
    ['throws', 1, /on its way up/],
    ['none', undefined, /defineTool/],
    ['risk', 5, /risk/],
    ['field', 4, /host/],
    ['schema', 5, /input/],
    ['secret', undefined, /DATABASE_URL is the platform's own/],
    ['twin', undefined, /the tool "fine" is also in/],
    ['both', undefined, /more than one tool: tool\.ts, tool\.js/],
    ['pysyntax', 1, /./],
    ['noclient', undefined, /_client/],
    ['toml', undefined, /./],
  ] as const) {
    const found = wrong.get(tool);
    assert.match(found?.message ?? 'nothing', found === undefined ? /^$/ : said, `${tool}: ${JSON.stringify(found)}`);
    if (line !== undefined) assert.equal(found?.line, line, `${tool}: ${JSON.stringify(found)}`);
  }
  assert.equal(wrong.size, 12);
  assert.match(text.stdout, /^error .*throws\/tool\.ts:1\S*: .*on its way up/m);
  assert.match(text.stdout, /\n1 tool, \d+ problems\n$/);
});

test('a check of nothing says so', async () => {
  const [none, gone] = await Promise.all([run(['check'], { env: { TOOL_DIRS: '' } }), run(['check', 'gone'])]);
  assert.equal(none.code, 2);
  assert.match(none.stderr, /nothing to check: name a folder, or set TOOL_DIRS/);
  assert.equal(gone.code, 1);
  assert.match(gone.stdout, /gone: there is no such directory/);
});
