/** `centaur up` with a workflow that calls tools in TypeScript and Python: through the real firewall to a service, and once, whatever is killed. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import { createLocalBackend } from '../../runtime/sandbox/local/index.ts';
import { createPlace, type Place } from '../support/cli.ts';
import { type Service, startService } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';

const KEY = 'sk-payments-Real0Key1With2Enough3Letters';
/** Its service does not answer to it before it is told to. */
const HELD = '/held';

const WORKFLOW = `export const WORKFLOW_NAME = 'pays';
export async function handler(input, ctx) {
  try {
    return { paid: await ctx.callTool(input.tool, 'charge', { path: input.path, note: input.note }) };
  } catch (error) {
    return { refused: String(error.code), message: error.message };
  }
}
`;

const tool = (url: string, host: string): string => `import { defineTool, method, secret } from '@centaur/sdk';
export default defineTool({
  description: 'Charges customers.',
  secrets: [{ name: 'PAY_KEY', hosts: ['${host}'] }],
  methods: {
    charge: method({
      description: 'Charges.',
      risk: 'write',
      input: { type: 'object', properties: { path: { type: 'string' }, note: { type: 'string' } }, required: ['path', 'note'] },
      async run({ path, note }: any) {
        const answer = await fetch('${url}' + path, { method: 'POST', headers: { 'x-api-key': secret('PAY_KEY') }, body: note });
        return { status: answer.status, had: secret('PAY_KEY'), environment: JSON.stringify(process.env) };
      },
    }),
  },
});
`;

const client = (url: string): string => `import json
import os
import urllib.request
from centaur_sdk import secret
class Client:
    def charge(self, path: str, note: str):
        """Charges."""
        request = urllib.request.Request("${url}" + path, data=note.encode(), headers={"x-api-key": secret("PAY_KEY")}, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return {"status": answer.status, "had": secret("PAY_KEY"), "environment": json.dumps(dict(os.environ))}
def _client():
    return Client()
`;

const TOOLS = ['payer', 'payer_py'] as const;
const held: (() => void)[] = [];
let service: Service;
let place: Place;
let server: Awaited<ReturnType<Place['serve']>>;

before(async () => {
  service = await startService((request, response) => {
    if (request.url === HELD) held.push(() => void response.end('held'));
    else response.end('done');
  });
  place = createPlace({ WORKFLOW_HOSTS: '', TOOL_DIRS: 'tools' });
  const [url, host] = [`https://localhost:${service.port}`, `localhost:${service.port}`];
  for (const [file, text] of Object.entries({
    'tools/payer/tool.ts': tool(url, host),
    'tools/payer_py/pyproject.toml': `[project]\ndescription = "Charges customers."\n[tool.centaur]\nsecrets = [{ name = "PAY_KEY", hosts = ["${host}"] }]\n[tool.centaur.methods.charge]\nrisk = "write"\n`,
    'tools/payer_py/client.py': client(url),
    'service.pem': service.caPem,
    'centaur.yaml': 'egress:\n  allow_cidrs: [127.0.0.1]\n  ca_files: [service.pem]\ntools: {built_in: false}\n',
  })) {
    mkdirSync(path.dirname(path.join(place.folder, file)), { recursive: true });
    writeFileSync(path.join(place.folder, file), text);
  }
  place.write('pays.ts', WORKFLOW);
  server = await place.serve('up');
  const set = await place.run(['secrets', 'set', 'PAY_KEY', '--for', 'payer', '--value-stdin'], { stdin: KEY });
  assert.equal(set.code, 0, set.stderr);
});
after(async () => {
  server.child.kill('SIGTERM');
  await server.finished;
  // they are meant to outlive their server
  await createLocalBackend({ stateDir: path.join(place.env['CENTAUR_HOME'] as string, 'sandboxes') }).shutdown();
  await place[Symbol.asyncDispose]();
  await service[Symbol.asyncDispose]();
});

// oxlint-disable-next-line typescript/no-explicit-any -- answers of many shapes
type Answer = any;

async function ask(method: string, at: string, body?: object): Promise<Answer> {
  const key = readFileSync(path.join(place.env['CENTAUR_HOME'] as string, 'admin.key'), 'utf8').trim();
  const response = await fetch(`${place.env['CENTAUR_API_URL']}${at}`, {
    method,
    headers: { 'x-api-key': key, 'content-type': 'application/json' },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return response.json();
}

const start = async (input: object): Promise<string> =>
  (await ask('POST', '/workflows/runs', { workflow_name: 'pays', input })).run_id as string;

async function ended(run: string): Promise<Answer> {
  let seen: Answer;
  await eventually(
    async () => {
      seen = await ask('GET', `/workflows/runs/${run}`);
      return ['completed', 'failed', 'cancelled', 'stuck'].includes(seen.status);
    },
    { timeoutMs: 240_000, what: `run ${run} to end` },
  );
  return seen;
}

const noted = (note: string) => service.seen.filter(({ body }) => body === note);

test('a workflow has tools do what needs a key that neither it nor they have', async () => {
  for (const name of TOOLS) {
    const run = await ended(await start({ tool: name, path: '/now', note: `now ${name}` }));
    assert.equal(run.status, 'completed', JSON.stringify(run));
    const { status, had, environment } = run.result.paid ?? assert.fail(JSON.stringify(run.result));
    assert.equal(status, 200);
    assert.deepEqual(
      noted(`now ${name}`).map(({ headers, url }) => [headers['x-api-key'], url]),
      [[KEY, '/now']],
    );
    assert.notEqual(had, KEY);
    assert.ok(environment.includes(had) && !environment.includes(KEY), 'a placeholder is all that its process has');
  }
});

test('a call of a writing method whose worker is killed is made once, and its run ends', async () => {
  const runs = await Promise.all(TOOLS.map((name) => start({ tool: name, path: HELD, note: `held ${name}` })));
  await eventually(() => TOOLS.every((name) => noted(`held ${name}`).length === 1), { timeoutMs: 240_000, what: 'both calls to arrive' });
  server.child.kill('SIGKILL');
  await server.finished;
  server = await place.serve('up');
  for (const run of runs) {
    const { status, result } = await ended(run);
    assert.equal(status, 'completed', JSON.stringify(result));
    assert.match(JSON.stringify(result.refused), /TOOL_CALL_UNKNOWN/, JSON.stringify(result));
  }
  for (const answer of held) answer();
  for (const name of TOOLS) {
    assert.equal(noted(`held ${name}`).length, 1, `${name}: nobody knows whether it was done, so it is not done again`);
    // and it goes on serving
    const next = await ended(await start({ tool: name, path: '/then', note: `then ${name}` }));
    assert.equal(next.result.paid?.status, 200, JSON.stringify(next.result));
    assert.equal(noted(`then ${name}`).length, 1);
  }
});
