import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { spawnSync } from 'node:child_process';
import { after, before, test } from 'node:test';
import { type CommandPlace, startCommandPlace } from '../test/support/cli-api.ts';
import { createRotations } from '@centaur/kernel/rotation';
import { rotateWorkflow } from '@centaur/runtime/rotation';
import { eventually } from '../test/support/wait.ts';
import { readHidden } from './secret-value.ts';

const CANARY = 'sk_live_CANARYcanaryCANARY0123456789';

let t: CommandPlace;
before(async () => void (t = await startCommandPlace()));
after(() => t[Symbol.asyncDispose]());

const set = (name: string, ...more: string[]) =>
  t.centaur(['secrets', 'set', name, '--host', 'api.stripe.com', '--value-stdin', ...more], { stdin: `${CANARY}\n` });

test('a secret is set from stdin with all that is said about it, and granted', async () => {
  const { code, stdout, stderr } = await set(
    'STRIPE',
    '--inject',
    'Authorization: Bearer {value}',
    '--option',
    'generate={"length": 40}',
    ...'--host *.stripe.com:8443 --method post --path /v1/* --header Authorization --query key --in-path --in-body'.split(' '),
    ...'--type oauth_token --option token_url=https://a.b/c=d --option regions=eu,us --rotate-every 30d --grace 10m'.split(' '),
    ...'--grant workflow:bill --grant user:ann'.split(' '),
  );
  assert.deepEqual([code, stdout, stderr], [0, 'STRIPE may go to api.stripe.com, *.stripe.com:8443\n', '']);
  const secret = await t.read('secrets', 'show', 'STRIPE');
  assert.deepEqual(
    [secret.hosts, secret.methods, secret.paths, secret.places, secret.inject, secret.type],
    [
      ['api.stripe.com', '*.stripe.com:8443'],
      ['POST'],
      ['/v1/*'],
      { headers: ['authorization'], query: ['key'], path: true, body: true },
      { header: 'authorization', format: 'Bearer {value}' },
      'oauth_token',
    ],
  );
  assert.deepEqual(secret.options, { token_url: 'https://a.b/c=d', regions: ['eu', 'us'], generate: { length: 40 } });
  assert.deepEqual(secret.rotation, { every_seconds: 2_592_000, grace_seconds: 600, driver: 'generate' });
  assert.deepEqual(
    (await t.read('grants', 'ls', '--secret', 'STRIPE')).items.map((each: { principal: string }) => each.principal),
    ['user:ann', 'workflow:bill'],
  );
  const shown = (await t.centaur(['secrets', 'show', 'STRIPE'])).stdout;
  assert.match(shown, /^STRIPE oauth_token\n {2}hosts +api\.stripe\.com, \*\.stripe\.com:8443\n/);
  assert.match(shown, /^ {2}counts +header authorization, query key, path, body$/m);
  assert.match(shown, /^ {2}rotation +every 30 d, due in 29 d/m);
  assert.match(shown, /^ {2}granted +to user:ann, workflow:bill$/m);
  assert.match(
    (await t.centaur(['secrets', 'ls'])).stdout,
    /^STRIPE +oauth_token +api\.stripe\.com, \*\.stripe\.com:8443 +v1 +\d.*ago +due in/m,
  );
});

test('a value from a file is taken, rotated and kept; without one nothing is', async () => {
  const file = t.place.write('value.txt', CANARY);
  assert.equal((await t.centaur(['secrets', 'set', 'FILED', '--host', 'a.com', '--host', 'b.com', '--value-file', file])).code, 0);
  assert.equal(
    (await t.centaur(['secrets', 'rotate', 'FILED', '--value-stdin', '--grace', '5m'], { stdin: `${CANARY}2` })).stdout,
    'FILED has version 2\n',
  );
  assert.equal((await t.centaur(['secrets', 'set', 'FILED', '--host', 'b.com', '--keep-value'])).code, 0);
  const elsewhere = await t.centaur(['secrets', 'set', 'FILED', '--host', 'c.com', '--keep-value']);
  assert.match(elsewhere.stderr, /c\.com is a new place for this secret; give its value again/);
  const { version, hosts } = await t.read('secrets', 'show', 'FILED');
  assert.deepEqual([version, hosts], [2, ['b.com']]);
  const fetched = await t.centaur(['secrets', 'set', 'FETCHED', '--host', 'a.com', '--source', '{"type": "env", "variable": "KEY"}']);
  assert.match(fetched.stderr, /nobody may use it yet: centaur grants add workflow:<name> FETCHED/);
  assert.match((await t.centaur(['secrets', 'show', 'FETCHED'])).stdout, /^ {2}value +env, variable KEY$/m);
  assert.equal((await t.centaur(['secrets', 'rm', 'FETCHED'])).stdout, 'removed FETCHED\n');
  assert.equal((await t.centaur(['secrets', 'show', 'FETCHED'])).code, 5);
});

test('a secret with a driver is rotated without a value, and what became of it is shown', async () => {
  const { name, handler } = rotateWorkflow(createRotations({ ...t.api.installation, log: () => {} }));
  t.api.t.registry.define(name, handler);
  await t.api.t.engine.work();
  const args = ['--value-stdin', '--rotate-every', '30d', '--grace', '0s', '--option', 'generate={"length": 40}'];
  const made = await t.centaur(['secrets', 'set', 'SIGNING', '--type', 'webhook', ...args], { stdin: CANARY });
  assert.equal(made.code, 0, made.stderr);
  const { code, stdout, stderr } = await t.centaur(['secrets', 'rotate', 'SIGNING']);
  assert.deepEqual(
    [code, stdout, stderr],
    [0, 'SIGNING is being rotated by generate\n', 'see how far it is: centaur secrets show SIGNING\n'],
  );
  await eventually(async () => (await t.read('secrets', 'show', 'SIGNING')).last_rotation?.state === 'done');
  const shown = (await t.centaur(['secrets', 'show', 'SIGNING'])).stdout;
  assert.match(shown, /^ {2}rotation +every 30 d, due in .*, by generate$/m);
  assert.match(shown, /^ {2}rotated +.* ago, for key:\w+: done, run [0-9a-f-]{36}$/m);
  assert.match(shown, /^ {2}value +sealed, version 2$/m);

  const file = t.place.write(
    'rotate.json',
    JSON.stringify({ mint: { method: 'POST', url: 'https://a.com/keys', headers: { 'x-key': '{{current}}' }, value: '/key' } }),
  );
  const put = (...more: string[]) =>
    t.centaur(['secrets', 'set', 'MADE', '--host', 'a.com', '--value-stdin', '--rotate-every', '1d', ...more], { stdin: CANARY });
  assert.equal((await put('--rotate-driver', 'http', '--rotate-http', `@${file}`)).code, 0);
  assert.equal((await t.read('secrets', 'show', 'MADE')).rotation.http.mint.url, 'https://a.com/keys');
  assert.match((await put('--rotate-driver', 'http')).stderr, /rotation\.http: the requests go with the driver http/);
  assert.match((await put('--rotate-driver', 'postgres_role')).stderr, /postgres_role goes with secrets of type pg_dsn/);
  const lonely = await t.centaur(['secrets', 'set', 'MADE', '--host', 'a.com', '--keep-value', '--rotate-driver', 'manual']);
  assert.match(lonely.stderr, /--rotate-driver: goes with --rotate-every/);
  assert.match((await t.centaur(['secrets', 'rotate', 'SIGNING', '--grace', '1h'])).stderr, /--grace: goes with a value/);
  assert.match((await t.centaur(['secrets', 'rotate', 'FILED'])).stderr, /no value: give --value-stdin or --value-file/);
});

test('a value is not taken from an argument, and not repeated either', async () => {
  for (const args of [
    ['STRIPE', CANARY],
    [`STRIPE=${CANARY}`],
    ['STRIPE', '--value', CANARY],
    ['STRIPE', `--value=${CANARY}`],
    ['STRIPE', '--value-stdin', CANARY],
  ])
    for (const [command, ...more] of [['set', '--host', 'a.com'], ['rotate']] as const) {
      const { code, stdout, stderr } = await t.centaur(['secrets', command, ...args, ...more], { stdin: CANARY });
      assert.deepEqual([code, stdout], [2, ''], args.join(' '));
      assert.match(stderr, /not taken from an argument: the shell keeps it in its history/);
      assert.ok(!stderr.includes(CANARY));
    }
});

test('a command line that is wrong is said before anything is asked of the server', async () => {
  const nowhere = { env: { CENTAUR_API_URL: 'http://127.0.0.1:9' } };
  const expected: [string[], RegExp][] = [
    [['secrets', 'set', 'A', '--host', 'a.com'], /no value: give --value-stdin/],
    [['secrets', 'set', 'A', '--value-stdin'], /--host/],
    [['secrets', 'set', 'A', '--host', 'a.com', '--value-file', 'none.txt'], /cannot read none\.txt/],
    [['secrets', 'set', 'A', '--host', 'a.com', '--value-stdin', '--keep-value'], /either a value or --keep-value/],
    [['secrets', 'set', 'A', '--host', 'a.com', '--value-stdin', '--value-file', 'x'], /either --value-stdin or --value-file/],
    [['secrets', 'set', 'A', '--host', 'a.com', '--inject', 'Bearer x'], /a header with \{value\}/],
    [['secrets', 'set', 'A', '--host', 'a.com', '--option', 'x'], /expected name=value/],
    [['secrets', 'set', 'A', '--host', 'a.com', '--source', '{x'], /--source: not JSON/],
    [['secrets', 'set', 'A', '--host', 'a.com', '--keep-value', '--grace', '1h'], /goes with --rotate-every/],
    [['secrets', 'set', 'A', '--host', 'a.com', '--rotate-every', 'often'], /a duration in whole seconds/],
    [['secrets', 'rotate', 'A', '--grace', 'often'], /a duration/],
    [['leases', 'create'], /--secret/],
    [['leases', 'create', '--secret', 'A', '--kind', 'x'], /Allowed choices are run, call, step/],
    [['grants', 'add', 'user:ann'], /missing required argument 'secret'/],
  ];
  for (const [args, message] of expected) {
    const { code, stderr } = await t.centaur(args, nowhere);
    assert.equal(code, 2, `${args.join(' ')}: ${stderr}`);
    assert.match(stderr, message);
    assert.ok(!stderr.includes('    at '));
  }
});

test('grants are made, listed and taken away, and roles are set', async () => {
  await set('GRANTED');
  assert.equal((await t.centaur(['grants', 'add', 'role:billing', 'GRANTED'])).stdout, 'role:billing may use GRANTED\n');
  assert.equal((await t.centaur(['grants', 'roles', 'user:bob', 'billing', 'support'])).stdout, 'user:bob is billing, support\n');
  assert.match((await t.centaur(['grants', 'ls'])).stdout, /^[\da-f-]{36} +role:billing +GRANTED +/m);
  const lease = await t.read('leases', 'create', '--secret', 'GRANTED', '--principal', 'user:bob');
  assert.equal((await t.centaur(['grants', 'roles', 'user:bob'])).stdout, 'user:bob has no roles\n');
  const { items } = await t.read('leases', 'ls', '--principal', 'user:bob');
  assert.deepEqual([items[0].lease_id, items[0].status], [lease.lease_id, 'revoked']);
  const [grant] = (await t.read('grants', 'ls', '--secret', 'GRANTED')).items;
  assert.equal((await t.centaur(['grants', 'rm', grant.grant_id])).stdout, `removed ${grant.grant_id}\n`);
  assert.equal((await t.centaur(['grants', 'rm', grant.grant_id])).code, 5);
  assert.match((await t.centaur(['grants', 'add', 'bob', 'GRANTED'])).stderr, /principal: expected workflow:/);
  assert.equal((await t.centaur(['grants', 'refuse', 'tool:crm', 'NOT_THERE'])).stdout, 'NOT_THERE is refused to tool:crm\n');
  assert.match((await t.centaur(['grants', 'refused'])).stdout, /^tool:crm +NOT_THERE +/m);
  assert.equal((await t.centaur(['grants', 'allow', 'tool:crm', 'NOT_THERE'])).stdout, 'NOT_THERE is no longer refused to tool:crm\n');
  assert.equal((await t.centaur(['grants', 'allow', 'tool:crm', 'NOT_THERE'])).code, 5);
});

test('a lease is printed for a shell, listed and revoked', async () => {
  await set('LEASED', '--grant', 'user:eve');
  const args = ['leases', 'create', '--secret', 'LEASED', '--principal', 'user:eve', '--ttl', '1h', '--max-uses', '3'];
  const { code, stdout, stderr } = await t.centaur(args);
  assert.equal(code, 0, stderr);
  const id = /^lease (\S+), which ends in 5\d min|^lease (\S+), which ends in 1 h/.exec(stderr)?.slice(1).find(Boolean) ?? '';
  const { stdout: sourced } = spawnSync('sh', ['-c', `${stdout}\necho "$LEASED|$HTTPS_PROXY|$NODE_EXTRA_CA_CERTS|$NO_PROXY|"`], {
    encoding: 'utf8',
  });
  assert.match(sourced, /^sk_live_\w{24,}\|http:\/\/lease:[\w-]{43}@127\.0\.0\.1:8081\|\/etc\/centaur\/ca\.pem\|\|$/m);
  assert.match(
    (await t.centaur(['leases', 'ls', '--active'])).stdout,
    new RegExp(`^${id} +user:eve +active +LEASED +0 of 3 +.*ago +in `, 'm'),
  );
  assert.equal((await t.centaur(['leases', 'revoke', id, '--reason', 'done'])).stdout, `revoked ${id}\n`);
  assert.ok(!(await t.centaur(['leases', 'ls', '--active'])).stdout.includes(id));
  const refused = await t.centaur(['leases', 'create', '--secret', 'LEASED', '--principal', 'user:bob']);
  assert.deepEqual([refused.code, /centaur grants add user:bob LEASED/.test(refused.stderr)], [4, true]);
});

test('nothing that was printed, and nothing in the server’s log, has a value in it', async () => {
  await set('QUIET', '--json');
  const shown = [
    await set('QUIET'),
    await t.centaur(['secrets', 'set', 'QUIET', '--host', 'a.com', '--value-stdin'], { stdin: ` ${CANARY}` }),
    await t.centaur(['secrets', 'ls', '--json']),
    await t.centaur(['secrets', 'show', 'QUIET', '--json']),
    await t.centaur(['audit', 'tail', '--json']),
  ];
  assert.ok(!/canary/i.test(JSON.stringify([shown, t.api.t.logs])));
});

test('a value that is typed is not echoed, and can be corrected or given up', async () => {
  const type = async (...chunks: string[]) => {
    const modes: boolean[] = [];
    const input = Object.assign(new EventEmitter(), {
      setRawMode: (on: boolean) => void modes.push(on),
      setEncoding: () => undefined,
      resume: () => undefined,
      pause: () => undefined,
    });
    let written = '';
    const typed = readHidden('Value: ', input as unknown as Parameters<typeof readHidden>[1], {
      write: (text: string | Uint8Array) => ((written += String(text)), true),
    });
    for (const chunk of chunks) input.emit('data', chunk);
    const value = await typed;
    assert.deepEqual([modes, written, input.listenerCount('data')], [[true, false], 'Value: \n', 0]);
    return value;
  };
  assert.equal(await type('sk_', 'livX', '\u007f', 'e', '\r'), 'sk_live');
  assert.equal(await type('pasted at once\nand more'), 'pasted at once');
  assert.equal(await type('sk_', '\u0003'), undefined);
});
