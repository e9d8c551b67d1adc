/** Seed 003, "A request through the system": one task through `centaur up`, with each hop in one trace, and what it took. */
import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';
import type { SpanView, TraceView } from '../../kernel/traces/index.ts';
import { createLocalBackend } from '../../runtime/sandbox/local/index.ts';
import { createPlace, type Place } from '../support/cli.ts';
import { type Service, startService } from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';

const KEY = 'sk-orders-Canary0Value1That2Nobody3Sees';
const HOOK_SECRET = 'whsec-traces-0123456789-canary';
const ARGUMENT = 'canary-argument-61c0';

const WORKFLOW = `import { defineWorkflow } from '@centaur/sdk';
export default defineWorkflow({
  name: 'order',
  webhooks: [{ slug: 'orders', provider: 'github', auth: { type: 'github_hmac', secret_ref: 'HOOK_SECRET' }, trigger_key: { type: 'header', name: 'X-GitHub-Delivery' } }],
  async handler(input: any, ctx) {
    const tool = input.webhook?.body?.tool ?? input.tool;
    await ctx.step('look', () => 'seen');
    const paid = await ctx.callTool(tool, 'charge', { note: '${ARGUMENT}', path: input.path ?? '/now' });
    await ctx.runWorkflow('ship', { workflow: 'ship', input: { from: input.from ?? null } });
    return paid;
  },
});
`;

const SHIP = `import { defineWorkflow } from '@centaur/sdk';
export default defineWorkflow({
  name: 'ship',
  async handler(_input: any, ctx) {
    await ctx.step('fetch', async () => (await fetch(process.env['SERVICE'] ?? 'SERVICE/shipped')).status);
    await ctx.sleep('rest', '50ms');
    return 'shipped';
  },
});
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
        return { status: answer.status };
      },
    }),
    forge: method({
      description: 'Says that its requests are part of another trace.',
      risk: 'read',
      input: { type: 'object', properties: { traceparent: { type: 'string' }, tracestate: { type: 'string' } }, required: ['traceparent', 'tracestate'] },
      async run(headers: any) {
        return { status: (await fetch('${url}/forged', { headers: { ...headers, 'x-api-key': secret('PAY_KEY') } })).status };
      },
    }),
  },
});
`;

const client = (url: string): string => `import urllib.request
from centaur_sdk import secret
class Client:
    def charge(self, path: str, note: str):
        """Charges."""
        request = urllib.request.Request("${url}" + path, data=note.encode(), headers={"x-api-key": secret("PAY_KEY")}, method="POST")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return {"status": answer.status}
def _client():
    return Client()
`;

const held: (() => void)[] = [];
let service: Service;
let place: Place;
let server: Awaited<ReturnType<Place['serve']>>;

before(async () => {
  service = await startService((request, response) => {
    if (request.url === '/held') held.push(() => void response.end('held'));
    else setTimeout(() => response.end('done'), 30);
  });
  place = createPlace({ WORKFLOW_HOSTS: '', TOOL_DIRS: 'tools' });
  const [url, host] = [`https://localhost:${service.port}`, `localhost:${service.port}`];
  for (const [file, text] of Object.entries({
    'tools/payer/tool.ts': tool(url, host),
    'tools/payer_py/pyproject.toml': `[project]\ndescription = "Charges customers."\n[tool.centaur]\nsecrets = [{ name = "PAY_KEY", hosts = ["${host}"] }]\n[tool.centaur.methods.charge]\nrisk = "write"\n`,
    'tools/payer_py/client.py': client(url),
    'service.pem': service.caPem,
    'centaur.yaml': `egress:\n  allow_cidrs: [127.0.0.1]\n  ca_files: [service.pem]\n  allow: [{host: "${host}"}]\n  ports: [80, 443, ${service.port}]\n  trace_hosts: []\ntools: {built_in: false}\n`,
  })) {
    mkdirSync(path.dirname(path.join(place.folder, file)), { recursive: true });
    writeFileSync(path.join(place.folder, file), text);
  }
  place.write('order.ts', WORKFLOW);
  place.write('ship.ts', SHIP.replace('SERVICE/shipped', `${url}/shipped`));
  server = await place.serve('up');
  for (const args of [
    ['PAY_KEY', '--for', 'payer'],
    ['HOOK_SECRET', '--type', 'webhook'],
  ]) {
    const set = await place.run(['secrets', 'set', ...args, '--value-stdin'], { stdin: args[0] === 'PAY_KEY' ? KEY : HOOK_SECRET });
    assert.equal(set.code, 0, set.stderr);
  }
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

async function ask(method: string, at: string, body?: object, headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  const key = readFileSync(path.join(place.env['CENTAUR_HOME'] as string, 'admin.key'), 'utf8').trim();
  const response = await fetch(`${place.env['CENTAUR_API_URL']}${at}`, {
    method,
    headers: { 'x-api-key': key, 'content-type': 'application/json', ...headers },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  return response.json();
}

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

async function settledTrace(id: string): Promise<TraceView> {
  let trace: TraceView | undefined;
  // an outcome is written behind the answer
  await eventually(
    async () => {
      trace = (await ask('GET', `/api/traces/${id}`)) as TraceView;
      return trace.duration_ms !== null;
    },
    { what: `trace ${id} to be whole` },
  );
  return trace as TraceView;
}

async function deliver(tool: string, headers: Readonly<Record<string, string>> = {}): Promise<string> {
  const body = JSON.stringify({ tool });
  const response = await fetch(`${place.env['CENTAUR_API_URL']}/api/webhooks/orders`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-hub-signature-256': `sha256=${createHmac('sha256', HOOK_SECRET).update(body).digest('hex')}`,
      'x-github-delivery': randomUUID(),
      'x-github-event': 'order',
      ...headers,
    },
    body,
  });
  assert.equal(response.status, 202, await response.clone().text());
  return ((await response.json()) as { run_id: string }).run_id;
}

const find = ({ spans }: TraceView, kind: SpanView['kind'], name?: string): SpanView =>
  spans.find((span) => span.kind === kind && (name === undefined || span.name === name)) ??
  assert.fail(`no ${kind} ${name ?? ''} among\n${spans.map((span) => `${span.kind} ${span.name}`).join('\n')}`);
const over = (span: SpanView): number => span.start_ms + (span.duration_ms ?? assert.fail(`${span.kind} ${span.name} is open`));

for (const name of ['payer', 'payer_py']) {
  test(`seed 003, "A request through the system": each hop of a task with ${name} is in one trace`, async () => {
    const theirs = `0af7651916cd43dd8448eb211c8031${name === 'payer' ? '01' : '02'}`;
    const before = service.seen.length;
    const run = await deliver(name, { traceparent: `00-${theirs}-b7ad6b7169203331-01` });
    assert.equal((await ended(run)).status, 'completed');
    const trace = await settledTrace(theirs);
    assert.deepEqual([trace.trace_id, trace.status, trace.truncated], [theirs, 'ok', false]);
    const root = find(trace, 'run', 'order');
    assert.equal(root.run_id, run);
    const at = new Map(trace.spans.map((span) => [span.span_id, span]));
    const above = (span: SpanView): string[] => {
      const parent = span.parent_id === null ? undefined : at.get(span.parent_id);
      return [span.kind, ...(parent === undefined ? [] : above(parent))];
    };
    const call = find(trace, 'tool.call', `${name}.charge`);
    const egress = trace.spans.find((span) => span.kind === 'egress' && span.name.startsWith('POST')) ?? assert.fail('no request');
    assert.deepEqual(above(find(trace, 'ingress.webhook', 'orders')), ['ingress.webhook', 'run']);
    assert.deepEqual(above(call), ['tool.call', 'step', 'run']);
    assert.deepEqual(above(egress), ['egress', 'execute_tool', 'tool.call', 'step', 'run']);
    const under = (parent: SpanView) => trace.spans.filter((span) => span.parent_id === parent.span_id).map((span) => span.kind);
    assert.deepEqual(under(call), ['policy.eval', 'audit.log', 'agent.dispatch', 'execute_tool']);
    assert.deepEqual(under(egress), ['policy.eval', 'audit.log', 'secrets.lease', 'egress.upstream']);
    assert.deepEqual(above(find(trace, 'run', 'ship')), ['run', 'run.start', 'run']);
    // the sandbox of a workflow says whose requests these are, too
    const shipped = trace.spans.find((span) => span.kind === 'egress' && span.name.startsWith('GET')) ?? assert.fail('no request of ship');
    assert.deepEqual(above(shipped), ['egress', 'step', 'run', 'run.start', 'run']);
    assert.ok(trace.spans.some((span) => span.kind === 'state.checkpoint' && span.at_most));

    // sums: what is inside ends with what it is in, and the service's 30 ms are in all of them
    const late = Math.max(250, (trace.duration_ms as number) / 4);
    for (const span of trace.spans) {
      const parent = span.parent_id === null ? undefined : at.get(span.parent_id);
      if (parent === undefined || span.kind === 'run' || parent.kind === 'run.start') continue;
      // the firewall sees the end of an exchange when its client has gone on already, and a busy machine lets it wait
      assert.ok(
        span.start_ms >= parent.start_ms - 2 && over(span) <= over(parent) + late,
        `${span.kind} ${span.name} is outside of ${parent.kind} ${parent.name}`,
      );
    }
    const upstream = trace.spans.find((span) => span.parent_id === egress.span_id && span.kind === 'egress.upstream') as SpanView;
    for (const span of [upstream, egress, find(trace, 'execute_tool'), call, root])
      assert.ok((span.duration_ms ?? 0) >= 25, `${span.kind}: ${span.duration_ms} ms`);
    assert.ok(over(root) <= (trace.duration_ms as number) + 1);
    const parts = trace.spans.filter((span) => span.parent_id === egress.span_id).reduce((sum, span) => sum + (span.duration_ms ?? 0), 0);
    assert.ok(parts <= (egress.duration_ms as number) + 2, `${parts} ms of parts in ${egress.duration_ms} ms`);

    // each entry that is named is in the log, in this trace
    const { items } = await ask('GET', `/audit?trace_id=${theirs}&limit=200`);
    const ids = new Set(items.map((entry: Answer) => entry.id));
    for (const span of trace.spans) for (const id of span.audit_ids) assert.ok(ids.has(id), `${span.kind} names ${id}`);
    assert.ok(
      [call, egress].every((span) => span.audit_ids.length === 2),
      'an intent and its outcome',
    );

    // by any of its ids it is the same
    assert.equal((await ask('GET', `/traces/${run}`)).spans.length, trace.spans.length);
    // nothing of what was sent is told, and the service hears of no trace of ours
    const text = JSON.stringify(trace);
    for (const secret of [KEY, HOOK_SECRET, ARGUMENT, '/now', '/shipped']) assert.ok(!text.includes(secret), secret);
    const sent = service.seen.slice(before);
    assert.equal(sent.length, 2);
    for (const { headers } of sent) assert.deepEqual([headers['traceparent'], headers['tracestate']], [undefined, undefined]);

    const shown = await place.run(['trace', run], { env: { COLUMNS: '100' } });
    assert.equal(shown.code, 0, shown.stderr);
    if (process.env['SHOW_TRACE'] !== undefined) console.log(shown.stdout);
    assert.match(shown.stdout, /ingress\.webhook orders/);
    for (const line of shown.stdout.split('\n')) assert.ok(line.length <= 100, `${line.length}: ${line}`);
  });
}

test('a worker that is killed in the middle: the run goes on in the same trace, and what was done again is marked', async () => {
  const { run_id: run } = await ask('POST', '/workflows/runs', { workflow_name: 'order', input: { tool: 'payer', path: '/held' } });
  const before = service.seen.length;
  await eventually(() => held.length > 0 && service.seen.length > before - 1, { timeoutMs: 240_000, what: 'the call to arrive' });
  const open = (await ask('GET', `/traces/${run}`)) as TraceView;
  assert.deepEqual([open.status, open.duration_ms, find(open, 'execute_tool').duration_ms], ['open', null, null]);
  server.child.kill('SIGKILL');
  await server.finished;
  server = await place.serve('up');
  await ended(run);
  for (const answer of held.splice(0)) answer();
  const trace = (await ask('GET', `/traces/${run}`)) as TraceView;
  assert.equal(trace.trace_id, run.replaceAll('-', ''));
  const root = find(trace, 'run', 'order');
  assert.deepEqual([root.attributes['takeovers'], root.status], [1, 'error']);
  const taken = find(trace, 'run.takeover');
  assert.equal(taken.parent_id, root.span_id);
  const step = find(trace, 'step', 'tool_payer_charge');
  assert.deepEqual([step.attributes['after_takeover'], find(trace, 'step', 'look').attributes['after_takeover']], [true, undefined]);
  // the call that was under way has no outcome, and says so
  assert.equal(find(trace, 'tool.call', 'payer.charge').status, 'open');
  const shown = await place.run(['trace', run], { env: { COLUMNS: '100' } });
  if (process.env['SHOW_TRACE'] !== undefined) console.log(shown.stdout);
  assert.match(shown.stdout, /run\.takeover worker died ×2/);
  assert.match(shown.stdout, /step tool_payer_charge ↻/);
});

test('a tool that says that its request is part of another trace is not believed, and hosts that are named hear of ours', async () => {
  const [ours, victim] = ['1af7651916cd43dd8448eb211c80319c', '2bf7651916cd43dd8448eb211c80319c'];
  const config = path.join(place.folder, 'centaur.yaml');
  writeFileSync(config, readFileSync(config, 'utf8').replace('trace_hosts: []', `trace_hosts: ["localhost:${service.port}"]`));
  const headers = { traceparent: `00-${ours}-b7ad6b7169203331-01` };
  let told: string | undefined;
  await eventually(
    async () => {
      assert.equal((await ask('POST', '/tools/payer/charge', { path: '/told', note: 'x' }, headers)).result?.status, 200);
      told = service.seen.findLast(({ url }) => url === '/told')?.headers['traceparent'] as string | undefined;
      return told !== undefined;
    },
    { what: 'the firewall to hear of the host' },
  );
  const trace = await settledTrace(ours);
  const egress = trace.spans.filter((span) => span.kind === 'egress').map((span) => span.span_id);
  assert.ok(
    egress.some((id) => told === `00-${ours}-${id}-01`),
    told,
  );
  // of a run that is there, of one that is not, and of a call that another tool made long ago
  const [run] = (await ask('GET', '/workflows/runs?workflow_name=order')).items as { run_id: string }[];
  const [old] = (await ask('GET', '/audit?action=tool.call&resource=tool:payer_py.charge')).items as { id: string }[];
  for (const tracestate of [`r${victim}`, `r${run?.run_id.replaceAll('-', '')}`, `c${old?.id.replaceAll('-', '')}`]) {
    const forged = { traceparent: `00-${victim}-b7ad6b7169203331-01`, tracestate: `other=1,centaur=${tracestate}` };
    assert.equal((await ask('POST', '/tools/payer/forge', forged, headers)).result?.status, 200);
    const seen = service.seen.findLast(({ url }) => url === '/forged')?.headers;
    assert.deepEqual([seen?.['traceparent'], seen?.['tracestate']], [undefined, undefined]);
  }
  assert.equal((await ask('GET', `/traces/${victim}`)).code, 'TRACE_NOT_FOUND');
  const { items } = await ask('GET', '/audit?action=egress.intent&limit=3');
  for (const entry of items) assert.deepEqual([entry.trace_id, entry.run_id, entry.details.caused_by], [undefined, undefined, undefined]);
});
