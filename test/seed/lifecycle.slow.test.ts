/** "A request through the system" of the architecture document: each sentence is a test named after it, on a whole installation. */
import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import type { SpanView, TraceView } from '../../kernel/traces/index.ts';
import { eventually } from '../support/wait.ts';
import { type Answer, type Installation, startInstallation } from './installation.ts';

const SHOP_KEY = 'sk-shop-Real0Key1With2Enough3Letters';
const HOOK_SECRET = 'whsec-lifecycle-0123456789';
const PATIENCE = { timeoutMs: 240_000 };

const ORDER = `import { defineWorkflow } from '@centaur/sdk';
export default defineWorkflow({
  name: 'order',
  webhooks: [{ slug: 'orders', provider: 'github', auth: { type: 'github_hmac', secret_ref: 'HOOK_SECRET' }, trigger_key: { type: 'header', name: 'X-GitHub-Delivery' } }],
  async handler(input: any, ctx) {
    await ctx.step('look', () => 'seen');
    return ctx.callTool('shop', 'charge', { note: input.webhook.body.note });
  },
});
`;

/** Its second step fails as often as the service says so, and its third one holds until the service answers. */
const careful = (url: string) => `export const WORKFLOW_NAME = 'careful';
const tell = async (path: string) => {
  const answer = await fetch('${url}' + path, { method: 'POST', headers: { authorization: 'Bearer ' + process.env.TELL_KEY } });
  if (answer.status !== 200) throw new Error('the service answered ' + answer.status);
  return await answer.text();
};
export async function handler(input: any, ctx: any) {
  const first = await ctx.step('first', () => tell('/first/' + input.id));
  const second = await ctx.step('second', () => tell('/second/' + input.id + '/' + first), { retry: { maxAttempts: 5, delay: '100ms' } });
  const third = await ctx.step('third', () => tell('/third/' + input.id + '/' + second));
  return [first, second, third];
}
`;

const shop = ({ url, host }: { url: string; host: string }) => `import { defineTool, method, secret } from '@centaur/sdk';
export default defineTool({
  description: 'Charges.',
  secrets: [{ name: 'SHOP_KEY', hosts: ['${host}'] }],
  methods: {
    charge: method({
      description: 'Charges.', risk: 'write', input: { type: 'object', properties: { note: { type: 'string' } } },
      async run({ note }: any) {
        const answer = await fetch('${url}/charge', { method: 'POST', headers: { 'x-api-key': secret('SHOP_KEY') }, body: note });
        return { status: answer.status };
      },
    }),
  },
});
`;

let t: Installation;
/** How often the second step is refused, and who waits in the third. */
let refusals = 0;
const held: (() => void)[] = [];
let holds = false;

before(async () => {
  t = await startInstallation({
    handler: (request, response) => {
      const { url = '' } = request;
      if (url.startsWith('/second/') && refusals > 0) {
        refusals -= 1;
        response.statusCode = 500;
        return void response.end('not yet');
      }
      // what is answered is new each time: a step that ran twice would be seen
      const answer = () => void response.end(`${url.split('/')[1]}-${randomUUID().slice(0, 8)}`);
      if (url.startsWith('/third/') && holds) held.push(answer);
      else answer();
    },
    files: (service) => ({
      'tools/shop/tool.ts': shop(service),
      'workflows/order.ts': ORDER,
      'workflows/careful.ts': careful(service.url),
    }),
    secrets: (host) => ({
      SHOP_KEY: [SHOP_KEY, '--for', 'shop'],
      TELL_KEY: ['sk-tell-Real0Key1With2Enough3Letters', '--host', host],
      HOOK_SECRET: [HOOK_SECRET, '--type', 'webhook'],
    }),
  });
  await t.server.centaur('grants', 'add', 'workflow:careful', 'TELL_KEY');
});
after(() => t[Symbol.asyncDispose]());

async function deliver(body: object, signedWith: string): Promise<{ readonly status: number; readonly body: Answer }> {
  const text = JSON.stringify(body);
  const response = await fetch(`${t.server.url}/api/webhooks/orders`, {
    method: 'POST',
    headers: {
      'content-type': 'application/json',
      'x-github-delivery': randomUUID(),
      'x-hub-signature-256': `sha256=${createHmac('sha256', signedWith).update(text).digest('hex')}`,
    },
    body: text,
  });
  return { status: response.status, body: await response.json() };
}

const sent = (path: string) => t.service.seen.filter(({ url }) => url.startsWith(path)).map(({ url }) => url);

test('HMAC verified', async () => {
  const refused = await deliver({ note: 'forged' }, 'another-secret-0123456789');
  assert.equal(refused.status, 401);
  assert.deepEqual(await t.sql('select 1 from webhook_deliveries'), [], 'nothing is stored before the signature holds');
});

test('A request through the system', async () => {
  const { status, body } = await deliver({ note: 'a request' }, HOOK_SECRET);
  assert.equal(status, 202);
  const run = await t.server.ended(body.run_id);
  assert.deepEqual([run.status, run.result], ['completed', { status: 200 }]);
  // the outcomes are written behind the answers
  const trace = await eventually(async () => {
    const { body: view } = (await t.ask('GET', `/api/traces/${run.run_id}`)) as { body: TraceView };
    return view.duration_ms === null ? undefined : view;
  }, PATIENCE);
  const find = (kind: SpanView['kind']) => trace.spans.find((span) => span.kind === kind) ?? assert.fail(`no ${kind} in the trace`);
  const hops = (['ingress.webhook', 'state.checkpoint', 'policy.eval', 'tool.call', 'audit.log', 'secrets.lease', 'egress'] as const).map(
    find,
  );
  for (const hop of hops) assert.ok(hop.duration_ms !== null && hop.duration_ms >= 0, `${hop.kind}: its milliseconds`);
  assert.ok(find('ingress.webhook').start_ms <= find('tool.call').start_ms);
  assert.ok(find('tool.call').start_ms <= find('egress').start_ms);
  const partOf = (span: SpanView): string[] => {
    const parent = trace.spans.find(({ span_id: id }) => id === span.parent_id);
    return parent === undefined ? [] : [parent.kind, ...partOf(parent)];
  };
  assert.equal(find('egress').status, 'ok');
  assert.ok(partOf(find('egress')).includes('tool.call'), 'the request is part of the call');
  const shown = await t.server.centaur('trace', run.run_id);
  for (const kind of ['ingress.webhook', 'policy.eval', 'tool.call']) assert.match(shown, new RegExp(kind.replace('.', '\\.')));
  assert.match(shown, /ms/);
  assert.ok(!shown.includes('a request') && !shown.includes(SHOP_KEY), 'no argument and no secret is in it');
});

test('If any step fails, the task resumes from the last replay.checkpoint — never from zero, never with stale state.', async () => {
  refusals = 2;
  holds = true;
  const id = randomUUID();
  const started = await t.ask('POST', '/workflows/runs', { workflow_name: 'careful', input: { id } });
  await eventually(() => held.length === 1, PATIENCE);
  assert.equal(sent(`/first/${id}`).length, 1);
  assert.equal(sent(`/second/${id}`).length, 3, 'refused twice');
  // and when all of it dies in the middle of the third
  holds = false;
  await t.server.killed();
  const run = await t.server.ended(started.body.run_id);
  assert.equal(run.status, 'completed', JSON.stringify(run.error));
  assert.equal(sent(`/first/${id}`).length, 1, 'not from zero');
  assert.equal(sent(`/second/${id}`).length, 3);
  const [first, second] = run.result as readonly [string, string, string];
  // what the steps after it were given is what was checkpointed, before and after
  assert.deepEqual(new Set(sent(`/second/${id}`)), new Set([`/second/${id}/${first}`]));
  assert.deepEqual(new Set(sent(`/third/${id}`)), new Set([`/third/${id}/${second}`]), 'no stale state');
  assert.match(await t.server.centaur('replay', started.body.run_id), /./);
  for (const answer of held.splice(0)) answer();
});

test('Secrets are single-use leases; the audit log is append-only.', async () => {
  const { body: lease } = await t.ask('POST', '/api/leases', {
    principal: 'workflow:careful',
    secrets: ['TELL_KEY'],
    ttl_seconds: 60,
    max_uses: 1,
  });
  const curl = (path: string) =>
    t.server.shell(
      `curl -s -m 120 --cacert '${lease.ca_file}' -x '${lease.env.HTTPS_PROXY}' -X POST -H 'authorization: Bearer ${lease.placeholders.TELL_KEY}' -o /dev/null -w '{"status": %{http_code}}' '${t.url}${path}'`,
    );
  assert.equal((await curl('/single')).status, 200);
  assert.equal((await curl('/again')).status, 407, 'used once, and then never again');
  assert.deepEqual([sent('/single').length, sent('/again').length], [1, 0]);

  for (const change of [
    `update audit_log set entry = '{}'`,
    'delete from audit_log',
    'truncate audit_log cascade',
    'truncate audit_batches cascade',
  ])
    assert.match(await refusalOf(change), /append-only/, change);
  assert.match(await t.server.centaur('audit', 'verify'), /all as they were written/);
});

/** Locks of the log's partitions are taken one after the other: it may be one of those who write to it meanwhile that it is refused for. */
const refusalOf = (change: string): Promise<string> =>
  eventually(async () => {
    const error = (await t.sql(change).then(
      () => undefined,
      (reason: unknown) => reason,
    )) as { readonly code: string; readonly message: string } | undefined;
    return error?.code === '40P01' ? undefined : (error?.message ?? 'it was done');
  }, PATIENCE);
