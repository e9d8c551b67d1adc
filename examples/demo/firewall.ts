/**
 * The second act of the demo: a program without a key calls a service that takes only the real one. Then the database
 * dies, and the audit log is tampered with.
 */
import { execFile } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { verifyLog } from '@centaur/kernel/audit';
import { storeEgressConfig } from '@centaur/kernel/firewall/config';
import { connectStore, migrate, type Store } from '@centaur/kernel/store';
import { startEmbeddedPostgres } from '@centaur/kernel/store/embedded';
import { addGrant, createLease, type Installation, openInstallation, putSecret, readMasterKey } from '@centaur/kernel/vault';
import { createExpect } from './expect.ts';
import { startKeyService } from './key-service.ts';
import * as screen from './screen.ts';
import { startFirewallProcess } from './servers.ts';

const CLIENT = fileURLToPath(new URL('client.ts', import.meta.url));
const PRINCIPAL = 'workflow:sales_report';

interface Answer {
  readonly status: number;
  readonly refused: string | null;
  readonly body: string;
}

/** @returns what did not hold; empty when all of it did */
export async function showFirewall(cleanup: AsyncDisposableStack): Promise<string[]> {
  const { problems, expect } = createExpect();

  screen.title('\nCentaur demo: a program that never holds its key');
  const folder = mkdtempSync(path.join(os.tmpdir(), 'centaur-demo-'));
  chmodSync(folder, 0o711);
  cleanup.defer(() => rmSync(folder, { recursive: true, force: true }));
  const key = `sk-demo-${randomBytes(24).toString('base64url')}`;
  const service = await startKeyService(key, folder, cleanup);
  screen.fact('service', `${service.url}, takes only the real key, and echoes it`);

  const dataDir = path.join(folder, 'postgres');
  let postgres = await startEmbeddedPostgres({ dataDir, throwaway: true });
  cleanup.defer(() => postgres.stop().catch(() => undefined));
  await migrate(postgres.url);
  const masterText = randomBytes(32).toString('base64');
  const master = readMasterKey(masterText);
  const store = await connectStore({ url: postgres.url });
  cleanup.defer(() => store.close());
  const installation = await openInstallation({ store, master });
  cleanup.defer(() => installation.close());
  const { audit } = installation;
  await storeEgressConfig(installation, 'demo', { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem] });
  await putSecret({ store, audit, master }, 'demo', 'DEMO_API_KEY', {
    value: key,
    hosts: [`localhost:${service.port}`],
    paths: ['/v1/*'],
    match_headers: ['authorization'],
  });
  await addGrant({ store, audit }, 'demo', PRINCIPAL, 'DEMO_API_KEY');
  const home = path.join(folder, 'home');
  mkdirSync(home);
  const firewall = await startFirewallProcess({ DATABASE_URL: postgres.url, CENTAUR_MASTER_KEY: masterText, CENTAUR_HOME: home }, cleanup);
  screen.fact('firewall', `${firewall.url}, a process of its own (pid ${firewall.pid})`);

  const lease = await createLease({ store, audit }, 'demo', { principal: PRINCIPAL, secrets: ['DEMO_API_KEY'], ttlSeconds: 300 });
  const placeholder = lease.placeholders['DEMO_API_KEY'] as string;
  const environment = {
    PATH: process.env['PATH'] ?? '',
    HTTPS_PROXY: firewall.url.replace('http://', `http://lease:${lease.token}@`),
    NODE_EXTRA_CA_CERTS: firewall.caFile,
    NODE_USE_ENV_PROXY: '1',
    DEMO_API_KEY: placeholder,
  };
  const call = (url: string, more: Readonly<Record<string, string>> = {}) => runClient(url, { ...environment, ...more });

  screen.section('What the program has');
  screen.fact('key', `${placeholder.slice(0, 14)}… a placeholder, made for this lease`);
  screen.fact('proxy', `${firewall.url.replace('http://', 'http://lease:…@')} for ${PRINCIPAL}, 5 minutes`);

  screen.section('Calls');
  const direct = await runClient(`${service.url}/v1/orders`, {
    PATH: environment.PATH,
    DEMO_API_KEY: placeholder,
    NODE_EXTRA_CA_CERTS: service.caFile,
  });
  screen.line(
    direct.status === 401 ? 'killed' : 'completed',
    'around the firewall',
    `${direct.status}: the service does not take the placeholder`,
  );
  expect(direct.status === 401, `a placeholder was taken by the service: ${direct.status}`);

  const first = await call(`${service.url}/v1/orders`);
  const blanked = !first.body.includes(key) && first.body.includes('*'.repeat(key.length));
  screen.line(first.status === 200 ? 'completed' : 'killed', 'through the firewall', `${first.status}: the service saw the real key`);
  screen.line(blanked ? 'completed' : 'killed', 'the answer', `it echoed the key; the program got ${first.body.slice(0, 60)}…`);
  expect(
    first.status === 200 && service.seen.at(-1) === `Bearer ${key}`,
    `the call through the firewall failed: ${first.status} ${first.body}`,
  );
  expect(blanked, 'the key came through in the answer');

  const before = service.seen.length;
  const elsewhere = await call(`${service.url}/admin/keys`);
  screen.line('killed', 'another path', `${elsewhere.status} ${elsewhere.refused}: the key is for /v1/* alone; the service saw nothing`);
  expect(elsewhere.status === 403 && service.seen.length === before, 'a placeholder went where it is not bound to go');

  screen.section('Postgres is killed');
  process.kill(postgres.pid, 'SIGKILL');
  await pause(1500);
  const closed = await call(`${service.url}/v1/orders`);
  screen.line('killed', 'the same call', `refused (${closed.refused ?? closed.body}): no audit, no credential; the service saw nothing`);
  expect(closed.status !== 200 && service.seen.length === before, 'a call went out without an audit log');
  postgres = await startEmbeddedPostgres({ dataDir, throwaway: true, port: postgres.port });
  const recovered = await untilAnswered(() => call(`${service.url}/v1/orders`));
  screen.line(
    recovered.status === 200 ? 'completed' : 'killed',
    'Postgres is back',
    `${recovered.status}: the firewall recovered by itself`,
  );
  expect(recovered.status === 200, `the firewall did not recover: ${recovered.status} ${recovered.body}`);

  problems.push(...(await showTampering(store, installation, key)));
  screen.verdict(
    problems.length === 0,
    problems.length === 0
      ? 'The program never held the key, nothing left without an audit entry, and every forgery was named.'
      : `The proof fails: ${problems.join('; ')}.`,
  );
  return problems;
}

/** The log as it is, with an entry changed, and with one deleted: each is named. */
async function showTampering(store: Store, installation: Installation, key: string): Promise<string[]> {
  const problems: string[] = [];
  const { macKey, signer } = installation;
  await installation.sealer.seal();
  const verify = () => verifyLog(store, { macKey, rawPublicKey: signer.rawPublicKey });
  screen.section('The audit log');
  const clean = await verify();
  screen.line(
    clean.findings.length === 0 ? 'completed' : 'killed',
    'verified',
    `${clean.entries} entries in ${clean.batches} sealed batches, all as they were written`,
  );
  if (clean.findings.length > 0) problems.push(`the untouched log does not verify: ${clean.findings[0]?.problem}`);
  const { rows } = await store.query<{ audit_id: string; action: string; entry: string }>(
    `select audit_id, action, entry from audit_log where action in ('egress.intent', 'egress.deny') order by audit_id`,
  );
  if (rows.some(({ entry }) => entry.includes(key))) problems.push('the key is in the audit log');
  const [changed, deleted] = [rows.find(({ action }) => action === 'egress.intent'), rows.find(({ action }) => action === 'egress.deny')];
  if (changed === undefined || deleted === undefined) return [...problems, 'the calls are not in the audit log'];

  // as somebody who owns the database could
  await store.query('alter table audit_log disable trigger all');
  await store.query(`update audit_log set entry = replace(entry, '/v1/orders', '/v1/nobody') where audit_id = $1`, [changed.audit_id]);
  await store.query('delete from audit_log where audit_id = $1', [deleted.audit_id]);
  const { findings } = await verify();
  for (const { audit_id: id, what } of [
    { ...changed, what: 'changed' },
    { ...deleted, what: 'missing' },
  ]) {
    const found = findings.find((finding) => finding.auditId === id && finding.problem.includes(what));
    screen.line(
      found === undefined ? 'waiting' : 'killed',
      `an entry ${what === 'changed' ? 'is changed' : 'is deleted'}`,
      found === undefined ? 'not found' : `found: ${id}, batch ${found.batch}: ${found.problem}`,
    );
    if (found === undefined) problems.push(`an entry that was ${what} was not found`);
  }
  return problems;
}

async function runClient(url: string, environment: Readonly<Record<string, string>>): Promise<Answer> {
  const { stdout } = await promisify(execFile)(process.execPath, [CLIENT, url], { env: { ...environment }, timeout: 120_000 });
  return JSON.parse(stdout) as Answer;
}

async function untilAnswered(call: () => Promise<Answer>): Promise<Answer> {
  const deadline = performance.now() + 90_000;
  for (;;) {
    const answer = await call();
    if (answer.status === 200 || performance.now() > deadline) return answer;
    await pause(200);
  }
}
