/** The parts of the tool `browser` that need no Chromium: its way to the firewall, and what the operator says. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { openDoor } from '../../userspace/tools/browser/door.ts';

let imports = 0;

/** As it is read when the tool is loaded. */
async function settingsFor(t: TestContext, secrets: string): Promise<typeof import('../../userspace/tools/browser/settings.ts')> {
  process.env['BROWSER_SECRETS'] = secrets;
  t.after(() => delete process.env['BROWSER_SECRETS']);
  return import(new URL(`../../userspace/tools/browser/settings.ts?${++imports}`, import.meta.url).href);
}

test('a secret goes to its host and its path', async (t) => {
  const { secrets, typed } = await settingsFor(
    t,
    'SHOP_PASSWORD@Shop.Example.com/login, SHOP_PASSWORD@shop.example.org:443/login, PIN@a.test:8443',
  );
  assert.deepEqual(
    secrets.map(({ name, hosts, methods, paths, match_body }) => ({ name, hosts, methods, paths, match_body })),
    [
      {
        name: 'SHOP_PASSWORD',
        hosts: ['shop.example.com', 'shop.example.org'],
        methods: ['POST', 'PUT', 'PATCH'],
        paths: ['/login'],
        match_body: true,
      },
      { name: 'PIN', hosts: ['a.test:8443'], methods: ['POST', 'PUT', 'PATCH'], paths: undefined, match_body: true },
    ],
  );
  assert.deepEqual(typed.get('SHOP_PASSWORD')?.hosts, ['shop.example.com', 'shop.example.org']);
});

for (const [what, secrets, message] of [
  ['two paths for one secret', 'PIN@a.test/one, PIN@b.test/two', /PIN has the path \/one and \/two/],
  ['a path for one host and none for another', 'PIN@a.test/one, PIN@b.test', /PIN has the path \/one and \(any\)/],
  ['a pattern of hosts', 'PIN@*.a.test', /expected NAME@host or NAME@host\/path/],
  ['a query', 'PIN@a.test/login?x=1', /expected NAME@host or NAME@host\/path/],
] as const)
  test(`${what} is refused when the tool is loaded`, async (t) => {
    await assert.rejects(settingsFor(t, secrets), message);
  });

test('an answer that the firewall breaks off ends for the page, too', async (t) => {
  const firewall = http.createServer((_, response) => {
    response.writeHead(200, { 'content-length': '100' });
    response.write('half', () => response.destroy());
  });
  firewall.listen(0, '127.0.0.1');
  await once(firewall, 'listening');
  t.after(() => firewall.close());
  const door = await openDoor(new URL(`http://lease:token@127.0.0.1:${(firewall.address() as AddressInfo).port}`));
  t.after(() => door.close());
  const { hostname, port } = new URL(door.server);
  const request = http.get({ hostname, port, path: 'http://shop.test/', agent: false, signal: AbortSignal.timeout(60_000) });
  const [answer] = (await once(request, 'response')) as [http.IncomingMessage];
  await assert.rejects(answer.toArray(), { code: 'ECONNRESET' });
});
