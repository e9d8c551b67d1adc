/** What every attack has in common: a service with a credential, a firewall before it, and what must hold after a refusal. */
import assert from 'node:assert/strict';
import type http from 'node:http';
import net from 'node:net';
import tls from 'node:tls';
import type { EgressConfig } from '../../kernel/firewall/index.ts';
import type { CreatedLease, SecretRequest } from '../../kernel/vault/index.ts';
import {
  type Answer,
  type Call,
  callThrough,
  connectTunnel,
  createTestFirewall,
  type Service,
  type ServiceHandler,
  settledEntries as settledOf,
  startService,
  type TestFirewall,
  type TestFirewallOptions,
} from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';

// what a test looks into it knows the shape of
// oxlint-disable-next-line typescript/no-explicit-any
type Entry = Record<string, any>;

export const KEY = 'sk-ant-api03-Real0Key1With2Enough3Letters4InIt';

export interface Scene extends AsyncDisposable {
  readonly t: TestFirewall;
  readonly service: Service & { readonly server: http.Server };
  readonly lease: CreatedLease;
  /** Of the secret API_KEY, whose value is `KEY`. */
  readonly placeholder: string;
  /** `localhost:port`. */
  readonly authority: string;
  url(path: string, host?: string): string;
  call(path: string, call?: Call): Promise<Answer>;
  /** Forgets what the service saw and what the log has so far. */
  reset(): Promise<void>;
  /** Entries since the last reset. */
  entries(): Promise<Entry[]>;
}

export interface SceneOptions extends Omit<TestFirewallOptions, 'config'> {
  readonly handler?: ServiceHandler;
  readonly config?: EgressConfig;
  readonly secret?: Partial<SecretRequest>;
  /** Names besides localhost for which the service has a certificate; all of them lead to it. */
  readonly hosts?: readonly string[];
}

export async function startScene(options: SceneOptions = {}): Promise<Scene> {
  const hosts = ['localhost', ...(options.hosts ?? [])];
  const service = await startService(options.handler ?? ((_, response) => response.end('ok')), hosts);
  const t = await createTestFirewall({
    names: Object.fromEntries(hosts.map((host) => [host, ['127.0.0.1']])),
    ...options,
    config: { allow_cidrs: ['127.0.0.1'], ca_pems: [service.caPem], ...options.config },
  });
  const authority = `localhost:${service.port}`;
  await t.secret('API_KEY', { value: KEY, hosts: [authority], ...options.secret });
  const lease = await t.lease(['API_KEY']);
  const url = (path: string, host = 'localhost') => `https://${host}:${service.port}${path}`;
  let before = 0;
  return {
    t,
    service,
    lease,
    placeholder: lease.placeholders['API_KEY'] as string,
    authority,
    url,
    call: (path, call) => callThrough(t, lease.token, url(path), call),
    async reset() {
      before = (await settledEntries(t)).length;
      // when nothing is on its way there any more
      service.bytes = 0;
      service.seen.length = 0;
    },
    entries: async () => (await settledEntries(t)).slice(before),
    async [Symbol.asyncDispose]() {
      await t[Symbol.asyncDispose]();
      await service[Symbol.asyncDispose]();
    },
  };
}

export const settledEntries = ({ store, queued }: Pick<TestFirewall, 'store'> & Partial<TestFirewall>): Promise<Entry[]> =>
  settledOf(store, queued === undefined ? {} : { queued });

/** The code under which an entry tells of a refusal. */
function refusalOf({ action, details }: Entry): string | undefined {
  if (action === 'egress.deny') return String(details.code);
  return action === 'egress.outcome' && details.error !== undefined ? String(details.error) : undefined;
}

export interface Refusal {
  /** 0: the connection was closed without an answer. */
  readonly status: number | readonly number[];
  readonly code: string | RegExp;
}

/** Secrets and tokens besides those of the scene that nobody may learn. */
export interface Hidden {
  readonly tokens?: readonly string[];
  readonly secrets?: readonly string[];
}

/** What is looked at after a refusal. */
export interface Attacked {
  readonly t: TestFirewall;
  readonly service: Service;
  readonly lease: { readonly token: string };
  /** Of this attack alone. */
  entries(): Promise<Entry[]>;
}

/**
 * What holds after each refusal, all of it: nothing reached the service; the log tells of the request once, as a denial or
 * as an intent with its outcome; and no secret and no token is in the answer, the logs, the metrics or the audit log.
 */
export async function assertDenied(
  scene: Attacked,
  answer: { readonly status: number },
  expected: Refusal,
  hidden: Hidden = {},
): Promise<Entry> {
  assert.ok([expected.status].flat().includes(answer.status), JSON.stringify(answer));
  assertUntouched(scene);
  return assertRefused(scene, answer, expected.code, hidden);
}

export function assertUntouched({ service }: { readonly service: Service }): void {
  assert.equal(service.bytes, 0, 'the service was sent something');
  assert.equal(service.seen.length, 0);
}

/** The log and what is hidden, where part of the request may have been sent or the answer is checked apart. */
export async function assertRefused(scene: Attacked, answer: unknown, code: string | RegExp, hidden: Hidden = {}): Promise<Entry> {
  const entry = await oneRefusal(scene);
  if (typeof code === 'string') assert.equal(refusalOf(entry), code);
  else assert.match(String(refusalOf(entry)), code);
  await assertNothingLeaked(scene.t, answer, [scene.lease.token, ...(hidden.tokens ?? [])], [...new Set([KEY, ...(hidden.secrets ?? [])])]);
  return entry;
}

/** A refusal before anything was sent is one entry; one after that is an intent and its outcome. */
async function oneRefusal(scene: Attacked): Promise<Entry> {
  const requests = async () => (await scene.entries()).filter(({ action }) => /^egress\.(?:deny|intent|outcome)$/.test(String(action)));
  // a client may be answered, or cut off, before the log has it
  const entries = await eventually(
    async () => {
      const found = await requests();
      return found.some((entry) => refusalOf(entry) !== undefined) ? found : undefined;
    },
    { what: 'the refusal in the log' },
  );
  const [first, second] = entries;
  const told = entries.map(({ action }) => String(action)).join(', ');
  assert.ok(told === 'egress.deny' || told === 'egress.intent, egress.outcome', `one request in the log, not ${JSON.stringify(entries)}`);
  if (second !== undefined) assert.equal(second['intent_id'], first?.['id'], JSON.stringify(entries));
  return (second ?? first) as Entry;
}

/** No form of a secret, and no token of a lease, in what the client got, in the logs, on the page of metrics or in the audit log. */
export async function assertNothingLeaked(
  t: TestFirewall,
  answer: unknown,
  tokens: readonly string[] = [],
  secrets: readonly string[] = [KEY],
): Promise<void> {
  const places = {
    answer: JSON.stringify(answer),
    logs: JSON.stringify(t.logs),
    metrics: await metricsPage(t),
    audit: JSON.stringify(await settledEntries(t)),
  };
  const forbidden = [
    ...secrets.flatMap(formsOf),
    ...tokens.flatMap((token) => [token, Buffer.from(`lease:${token}`).toString('base64').replaceAll('=', '')]),
  ];
  for (const [place, text] of Object.entries(places))
    for (const form of forbidden) assert.ok(!text.includes(form), `${place} has ${form.slice(0, 60)} in it: ${text.slice(0, 2000)}`);
}

/** Raw, base64 wherever it may stand, hex: written down apart from the scanner's own list. */
export function formsOf(secret: string): string[] {
  const bytes = Buffer.from(secret);
  const base64 = ['', 'a', 'ab'].map((before) => {
    const text = Buffer.concat([Buffer.from(before), bytes])
      .toString('base64')
      .replaceAll('=', '');
    return text.slice(before.length === 0 ? 0 : before.length + 1, -2);
  });
  return [secret, ...base64, ...base64.map((text) => text.replaceAll('+', '-').replaceAll('/', '_')), bytes.toString('hex')];
}

export async function metricsPage(t: TestFirewall): Promise<string> {
  return (await fetch(`http://127.0.0.1:${t.firewall.metricsPort}/metrics`)).text();
}

export async function gauge(t: TestFirewall, name: string): Promise<number> {
  return Number(new RegExp(`^${name} (\\d+)`, 'm').exec(await metricsPage(t))?.[1]);
}

export interface TlsChoice {
  readonly authority?: string;
  readonly servername?: string | undefined;
  readonly alpn?: readonly string[];
}

/** A tunnel with TLS inside. @throws when the handshake is refused */
export async function openTls(scene: Pick<Scene, 't' | 'lease' | 'authority'>, choice: TlsChoice = {}): Promise<tls.TLSSocket> {
  const tunnel = await connectTunnel(scene.t.firewall.port, choice.authority ?? scene.authority, scene.lease.token);
  if (!(tunnel instanceof net.Socket)) throw new Error(`CONNECT was refused: ${JSON.stringify(tunnel)}`);
  const socket = tls.connect({
    socket: tunnel,
    ca: scene.t.firewall.caPem,
    ALPNProtocols: [...(choice.alpn ?? ['http/1.1'])],
    checkServerIdentity: () => undefined,
    ...('servername' in choice ? (choice.servername === undefined ? {} : { servername: choice.servername }) : { servername: 'localhost' }),
  });
  await new Promise<void>((resolve, reject) => {
    socket
      .once('secureConnect', resolve)
      .once('error', reject)
      .once('close', () => reject(new Error('closed in the handshake')));
  });
  socket.on('error', () => undefined);
  return socket;
}

export interface RawAnswer {
  /** 0 when the connection was closed without an answer. */
  readonly status: number;
  readonly text: string;
  readonly closed: boolean;
}

/** Sends the bytes as they are, and reads one answer, or the end of the connection. */
export function exchangeRaw(socket: net.Socket, bytes: string | Buffer): Promise<RawAnswer> {
  return new Promise((resolve) => {
    let text = '';
    let timer: NodeJS.Timeout | undefined;
    const done = (closed: boolean) => {
      clearTimeout(timer);
      socket.off('data', take).off('close', closedNow).off('end', closedNow);
      resolve({ status: Number(/^HTTP\/1\.1 (\d{3})/.exec(text)?.[1] ?? 0), text, closed });
    };
    const closedNow = () => done(true);
    const take = (chunk: Buffer) => {
      text += chunk.toString('latin1');
      const end = text.indexOf('\r\n\r\n');
      if (end < 0) return;
      const length = /\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end + 2))?.[1];
      const chunked = /\r\ntransfer-encoding: *chunked/i.test(text.slice(0, end + 2));
      const whole = chunked ? text.endsWith('0\r\n\r\n') : length !== undefined && text.length >= end + 4 + Number(length);
      if (!whole) return;
      // one that is about to be closed says so
      if (/\r\nconnection: *close/i.test(text.slice(0, end + 2))) timer ??= setTimeout(() => done(false), 2000);
      else done(false);
    };
    socket.on('data', take).once('close', closedNow).once('end', closedNow);
    if (socket.destroyed || socket.readableEnded) return closedNow();
    socket.write(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes);
  });
}

/** A plain connection to the firewall's door. */
export async function knock(t: TestFirewall): Promise<net.Socket> {
  const socket = net.connect(t.firewall.port, '127.0.0.1');
  socket.on('error', () => undefined);
  await new Promise<void>((resolve, reject) => socket.once('connect', resolve).once('error', reject));
  return socket;
}

export function basic(token: string): string {
  return `Basic ${Buffer.from(`lease:${token}`).toString('base64')}`;
}

/** The work, or the failure of a test that would else wait for ever. */
export async function within<T>(seconds: number, work: Promise<T>): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`no answer in ${seconds} s`)), seconds * 1000);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
}
