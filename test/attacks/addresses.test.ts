import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import {
  type Answer,
  callThrough,
  connectTunnel,
  createTestFirewall,
  startService,
  type Service,
  type TestFirewall,
} from '../support/firewall.ts';
import { eventually } from '../support/wait.ts';
import { assertDenied, type Attacked, basic, knock, settledEntries } from './support.ts';

const METADATA = [
  '169.254.169.254',
  '169.254.170.2',
  '100.100.100.200',
  '[fd00:ec2::254]',
  '[::ffff:169.254.169.254]',
  '[::169.254.169.254]',
  '[64:ff9b::a9fe:a9fe]',
  '[64:ff9b:1:a9fe:a9:fe00::]',
  '[64:ff9b:1::a9fe:a9fe]',
  '[2002:a9fe:a9fe::]',
  '[::ffff:0:a9fe:a9fe]',
  '[fe80::5efe:a9fe:a9fe]',
  'metadata.google.internal',
  'METADATA.google.internal.',
  'metadata.goog',
  'instance-data',
] as const;

const NOWHERE: readonly [host: string, why: string][] = [
  ['127.0.0.1', 'loopback'],
  ['127.255.255.254', 'loopback'],
  ['2130706433', 'loopback as a number'],
  ['0x7f000001', 'loopback in hex'],
  ['0x7f.1', 'loopback, short and in hex'],
  ['0177.0.0.1', 'loopback in octal'],
  ['127.1', 'loopback, short'],
  ['127.0.1', 'loopback, short'],
  ['０.0.0.0', 'fullwidth digits'],
  ['１２７.0.0.1', 'fullwidth digits'],
  ['①②⑦.0.0.1', 'circled digits'],
  ['127.0.0.1.', 'a trailing dot'],
  ['0.0.0.0', 'this host'],
  ['0', 'this host'],
  ['[::]', 'this host'],
  ['[::1]', 'loopback'],
  ['[0:0:0:0:0:0:0:1]', 'loopback, written out'],
  ['[::ffff:127.0.0.1]', 'mapped'],
  ['[::ffff:7f00:1]', 'mapped, in hex'],
  ['[64:ff9b::7f00:1]', 'NAT64'],
  ['[64:ff9b:1::7f00:1]', 'local NAT64'],
  ['[2002:7f00:1::]', '6to4'],
  ['[::127.0.0.1]', 'compatible'],
  ['[fe80::5efe:7f00:1]', 'ISATAP'],
  ['[2001:0:0:0:0:0:80ff:fffe]', 'Teredo'],
  ['10.0.0.1', 'private'],
  ['172.16.0.1', 'private'],
  ['172.31.255.255', 'private'],
  ['192.168.1.1', 'private'],
  ['100.64.0.1', 'shared by carriers'],
  ['169.254.1.1', 'link-local'],
  ['198.18.0.1', 'benchmarks'],
  ['192.0.0.1', 'special'],
  ['224.0.0.1', 'multicast'],
  ['255.255.255.255', 'broadcast'],
  ['240.0.0.1', 'reserved'],
  ['[fc00::1]', 'unique local'],
  ['[fd12:3456::1]', 'unique local'],
  ['[fe80::1]', 'link-local'],
  ['[fec0::1]', 'site-local'],
  ['[ff02::1]', 'multicast'],
  ['[2001:db8::1]', 'documentation'],
];

/** How the way out of a request through CONNECT ended. */
async function attempt(
  t: TestFirewall,
  token: string,
  host: string,
  port = 443,
): Promise<{ readonly status: number; readonly text: string }> {
  const socket = await knock(t);
  const authority = `${host}:${port}`;
  const bytes = Buffer.from(`CONNECT ${authority} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic(token)}\r\n\r\n`, 'utf8');
  const answer = await new Promise<{ status: number; text: string }>((resolve) => {
    let text = '';
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString('latin1');
      if (text.includes('\r\n\r\n')) resolve({ status: Number(/^HTTP\/1\.1 (\d+)/.exec(text)?.[1]), text });
    });
    socket.once('close', () => resolve({ status: 0, text }));
    socket.write(bytes);
  });
  socket.destroy();
  if (answer.status !== 200) return answer;
  const inside = await callThrough(t, token, `https://example.test:${port}/`, {
    connect: authority,
    sni: null,
    headers: { host: port === 443 ? host : authority },
  });
  return { status: inside.status, text: inside.body };
}

describe('no address of our own is dialled', () => {
  let t: TestFirewall;
  let service: Service;
  let token: string;
  let mark: number;
  const answers: Record<string, readonly (readonly string[])[]> = {};
  const asked: Record<string, number> = {};
  before(async () => {
    service = await startService((_, response) => response.end('ok'), ['localhost', 'rebind.test']);
    const names = new Proxy(
      {},
      {
        get(_, host: string) {
          const list = answers[host];
          if (list === undefined) return undefined;
          asked[host] = (asked[host] ?? 0) + 1;
          return list[Math.min(asked[host], list.length) - 1];
        },
      },
    );
    t = await createTestFirewall({ names, config: {} });
  });
  after(async () => {
    await t[Symbol.asyncDispose]();
    await service[Symbol.asyncDispose]();
  });

  async function allow(hosts: readonly string[], config: object = {}): Promise<void> {
    await t.configure({ allow: hosts.map((host) => ({ host })), ca_pems: [service.caPem], ...config });
    const { rows } = await t.store.query<{ v: number }>('select max(version)::int as v from firewall_configs');
    await eventually(
      async () => (await t.store.query('select 1 from firewall_processes where config_version = $1', [rows[0]?.v])).rowCount === 1,
    );
    token ??= (await t.lease([])).token;
    mark = (await settledEntries(t)).length;
    service.bytes = 0;
    service.seen.length = 0;
  }
  const sinceThen = async () => (await settledEntries(t)).slice(mark);
  const attacked = (): Attacked => ({ t, service, lease: { token }, entries: sinceThen });

  test('in whatever spelling, even when it is on the list of what is open', async () => {
    // what can be a pattern at all is put on the list
    const listed: string[] = [];
    const { parseHostPattern } = await import('../../kernel/vault/index.ts');
    for (const [host] of NOWHERE) {
      try {
        parseHostPattern(`${host}:${service.port}`);
        listed.push(`${host}:${service.port}`);
      } catch {
        // no list can open it
      }
    }
    await allow(listed);
    for (const [host, why] of NOWHERE) {
      mark = (await settledEntries(t)).length;
      const answer = await attempt(t, token, host, service.port);
      assert.ok([400, 403].includes(answer.status), `${host} (${why}): ${answer.status} ${answer.text}`);
      await assertDenied(attacked(), answer, {
        status: [400, 403],
        code: /^(?:ADDRESS_DENIED|BAD_AUTHORITY|BAD_REQUEST|HOST_DENIED)$/,
      });
    }
    assert.equal(service.bytes, 0);
  });

  test('metadata services are not, not even when every address is opened', async () => {
    const { parseHostPattern } = await import('../../kernel/vault/index.ts');
    const listed = METADATA.filter((host) => {
      try {
        return parseHostPattern(host);
      } catch {
        return false;
      }
    });
    for (const name of ['metadata.google.internal', 'metadata.goog', 'instance-data']) answers[name] = [['8.8.8.8']];
    await allow(listed, { allow_cidrs: ['0.0.0.0/0', '::/0'] });
    for (const host of METADATA) {
      mark = (await settledEntries(t)).length;
      // one that is dialled is answered too, when that has failed
      const answer = await attempt(t, token, host);
      assert.equal(answer.status, 403, `${host}: ${answer.status} ${answer.text}`);
      await assertDenied(attacked(), answer, { status: 403, code: 'ADDRESS_DENIED' });
    }
  });

  const resolved: [what: string, addresses: string[]][] = [
    ['a private address', ['10.1.2.3']],
    ['loopback', ['127.0.0.1']],
    ['loopback in IPv6', ['::1']],
    ['loopback, mapped', ['::ffff:127.0.0.1']],
    ['a metadata service', ['169.254.169.254']],
    ['a public and a private address', ['93.184.216.34', '192.168.0.1']],
    ['a private and a public address', ['192.168.0.1', '93.184.216.34']],
    ['a public IPv4 and a local IPv6 address', ['93.184.216.34', 'fe80::1']],
    ['something that is no address', ['not-an-address']],
  ];
  test('when a name leads to one', async () => {
    await allow(resolved.map((_, i) => `n${i}.name.test:${service.port}`));
    for (const [i, [what, addresses]] of resolved.entries()) {
      answers[`n${i}.name.test`] = [addresses];
      mark = (await settledEntries(t)).length;
      const answer = await callThrough(t, token, `https://n${i}.name.test:${service.port}/`);
      assert.equal(answer.status, 403, `${what}: ${answer.body}`);
      await assertDenied(attacked(), answer, { status: 403, code: 'ADDRESS_DENIED' });
    }
    assert.equal(service.bytes, 0);
  });

  test('a name that leads nowhere is refused', async () => {
    answers['empty.test'] = [[]];
    await allow([`empty.test:${service.port}`, `unknown.test:${service.port}`]);
    for (const host of ['empty.test', 'unknown.test']) {
      mark = (await settledEntries(t)).length;
      const answer = await callThrough(t, token, `https://${host}:${service.port}/`);
      await assertDenied(attacked(), answer, { status: 502, code: 'UNKNOWN_HOST' });
    }
  });

  test('when a name leads elsewhere when it is asked for again', async () => {
    answers['rebind.test'] = [['93.184.216.34'], ['127.0.0.1']];
    asked['rebind.test'] = 0;
    await allow([`rebind.test:${service.port}`]);
    const answer = await callThrough(t, token, `https://rebind.test:${service.port}/`);
    await assertDenied(attacked(), answer, { status: 403, code: 'ADDRESS_DENIED' });
  });

  test('the address that was checked is the one that is dialled', async () => {
    // checked first: our service; whoever asks DNS again while dialling is led into the desert
    answers['rebind.test'] = [['127.0.0.1'], ['127.0.0.1'], ['93.184.216.34']];
    asked['rebind.test'] = 0;
    await allow([`rebind.test:${service.port}`], { allow_cidrs: ['127.0.0.1'] });
    const answer = await callThrough(t, token, `https://rebind.test:${service.port}/`);
    assert.equal(answer.status, 200, answer.body);
    assert.ok((asked['rebind.test'] ?? 0) <= 2, 'it was resolved once more after the check');
  });

  test('a range that is opened on purpose is open, and nothing beside it', async () => {
    answers['beside.test'] = [['127.0.0.2']];
    answers['inside.test'] = [['127.0.0.1']];
    await allow([`inside.test:${service.port}`, `beside.test:${service.port}`], { allow_cidrs: ['127.0.0.1/32'] });
    const beside = await callThrough(t, token, `https://beside.test:${service.port}/`);
    assert.equal(beside.status, 403);
    // a certificate for another name: it was dialled, and refused for that
    assert.equal((await callThrough(t, token, `https://inside.test:${service.port}/`)).status, 502);
  });

  test('a broken configuration leaves the one before in force', async () => {
    await allow([`rebind.test:${service.port}`], { allow_cidrs: ['127.0.0.1'] });
    answers['rebind.test'] = [['127.0.0.1']];
    asked['rebind.test'] = 0;
    for (const broken of [{ allow: [{ host: 'a b' }] }, { allow_cidrs: ['10.0.0.0/33'] }, { allow: 7 }] as object[]) {
      await t.configure(broken);
      await eventually(async () => (await fetch(`http://127.0.0.1:${t.firewall.port}/readyz`)).status === 503);
      assert.equal((await callThrough(t, token, `https://rebind.test:${service.port}/`)).status, 200, JSON.stringify(broken));
      await allow([`rebind.test:${service.port}`], { allow_cidrs: ['127.0.0.1'] });
    }
  });

  test('without a lease nothing is resolved', async () => {
    await allow([`n9.name.test:${service.port}`]);
    answers['n9.name.test'] = [['127.0.0.1']];
    const answer = (await connectTunnel(t.firewall.port, `n9.name.test:${service.port}`, undefined)) as Answer;
    assert.equal(answer.status, 407);
    assert.equal(asked['n9.name.test'], undefined);
  });
});
