/** Signing in as people do: a real Chromium without scripts, on a phone and in the dark, and a real provider of OpenID Connect. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { Provider } from 'oidc-provider';
import { type Browser, type BrowserContext, chromium, type Page } from 'playwright-core';
import { storeEgressConfig } from '../../kernel/firewall/config.ts';
import { startTestApi, type TestApi } from '../support/api.ts';
import { ensureChromium } from '../support/chromium.ts';
import { addPerson, bearer } from '../support/people.ts';

const SECRET = 'the-secret-of-the-client-of-this-installation';
const CHROMIUM = '/usr/bin/chromium-headless-shell';

const stack = new AsyncDisposableStack();
let api: TestApi;
let browser: Browser;
let issuer: string;

before(async () => {
  assert.equal(ensureChromium().problem, undefined);
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ['--no-sandbox'] });
  stack.defer(() => browser.close());
  const places: { api?: string } = {};
  issuer = await startProvider(() => places.api ?? '');
  api = stack.use(
    await startTestApi({
      vault: 'alone',
      idle: true,
      oidc: {
        issuer,
        clientId: 'centaur',
        clientSecret: SECRET,
        label: 'Sign in with Example',
        scopes: ['email', 'profile'],
        emailDomains: ['example.com'],
        newcomers: 'operator',
        roles: undefined,
      },
    }),
  );
  places.api = api.url;
  await storeEgressConfig(api.installation, 'test', { allow_cidrs: ['127.0.0.1/32'] });
});
after(() => stack.disposeAsync());

/** As its makers publish it, with its own pages for signing in and for codes. */
async function startProvider(apiUrl: () => string): Promise<string> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  // made when it is first asked: it wants to know where we are
  let provider: Provider | undefined;
  server.on('request', (request, response) => {
    provider ??= new Provider(url, {
      clients: [
        {
          client_id: 'centaur',
          client_secret: SECRET,
          redirect_uris: [`${apiUrl()}/auth/callback`],
          grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
          response_types: ['code'],
          application_type: 'native',
        },
      ],
      claims: { openid: ['sub'], email: ['email', 'email_verified'], profile: ['name', 'preferred_username'] },
      // what is asked for is in the ID token
      conformIdTokenClaims: false,
      features: { deviceFlow: { enabled: true } },
      cookies: { keys: ['a key of this test'] },
      findAccount: (_, id) => ({
        accountId: id,
        claims: () => ({ sub: id, email: `${id}@example.com`, email_verified: true, name: `Person ${id}`, preferred_username: id }),
      }),
    });
    void provider.callback()(request, response);
  });
  stack.defer(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  });
  return url;
}

async function inBrowser(work: (page: Page, context: BrowserContext) => Promise<void>): Promise<void> {
  const context = await browser.newContext({ javaScriptEnabled: false, viewport: { width: 360, height: 640 } });
  try {
    await work(await context.newPage(), context);
  } finally {
    await context.close();
  }
}

/** The provider's own form; it asks for any name and password. */
async function atProvider(page: Page, name: string): Promise<void> {
  await page.fill('input[name=login]', name);
  await page.fill('input[name=password]', 'any');
  await page.click('button[type=submit]');
  await page.waitForSelector('input[name=login]', { state: 'detached' });
  // what the client may know
  await page.click('button[type=submit]');
}

/** A click is done before the page is there that it leads to. */
const shows = (page: Page, selector: string, pattern: RegExp) => page.locator(selector, { hasText: pattern }).waitFor();

test('with a password, without a script: who you are, and out again', () =>
  inBrowser(async (page, context) => {
    const ann = await addPerson(api, 'ann', 'approver', { roles: ['finance'] });
    await page.goto(`${api.url}/signin`);
    await page.fill('input[name=name]', 'ann');
    await page.fill('input[name=password]', 'not her password');
    await page.click('button[type=submit]');
    await shows(page, '[role=alert]', /wrong/);
    assert.equal(await page.inputValue('input[name=name]'), 'ann');
    await page.fill('input[name=password]', ann.password);
    await page.click('button[type=submit]');
    await shows(page, 'main', /Signed in as ann.*approver.*finance/s);
    const [cookie] = await context.cookies();
    assert.deepEqual([cookie?.name, cookie?.httpOnly, cookie?.sameSite], ['centaur', true, 'Strict']);
    await page.click('button[type=submit]');
    await shows(page, 'h1', /^Sign in$/);
    assert.deepEqual(await context.cookies(), []);
  }));

test('with a temporary password, another one is chosen on the way', () =>
  inBrowser(async (page) => {
    const { temporary_password: temporary } = (await api.call('POST', '/users', { name: 'newbie', role: 'viewer' })).body;
    await page.goto(`${api.url}/signin`);
    await page.fill('input[name=name]', 'newbie');
    await page.fill('input[name=password]', temporary);
    await page.click('button[type=submit]');
    await shows(page, 'h1', /^Choose your password$/);
    await page.fill('input[name=password]', temporary);
    await page.fill('input[name=new_password]', 'a password of my own');
    await page.click('button[type=submit]');
    await shows(page, 'h1', /Signed in as newbie/);
  }));

test('by the provider, and back to where one wanted to be', () =>
  inBrowser(async (page, context) => {
    await page.goto(`${api.url}/signin?return_to=${encodeURIComponent('/signin?x=1')}`);
    await page.click('text=Sign in with Example');
    await atProvider(page, 'carol');
    await page.waitForURL(`${api.url}/signin?x=1`);
    await shows(page, 'main', /Signed in as Person carol.*operator/s);
    assert.deepEqual(
      (await context.cookies(api.url)).map(({ name }) => name).filter((name) => name.startsWith('centaur')),
      ['centaur'],
    );
  }));

test('by the provider, with a code on another device', async () => {
  const { body: begun } = await api.call('POST', '/auth/device/start', undefined, { key: null });
  assert.match(begun.verification_uri, new RegExp(`^${issuer}/device`));
  await inBrowser(async (page) => {
    await page.goto(begun.verification_uri_complete);
    // the code is shown, and to be confirmed
    for (let pages = 0; pages < 4 && (await page.locator('input[name=login]').count()) === 0; pages++) {
      await page.click('button[type=submit]');
      await page.waitForLoadState();
    }
    await atProvider(page, 'dave');
    await shows(page, 'h1', /Success/);
  });
  for (let tries = 0; ; tries++) {
    await new Promise((resolve) => setTimeout(resolve, begun.interval * 1000 + 100));
    const { body } = await api.call('POST', '/auth/device/poll', { handle: begun.handle }, { key: null });
    if (body.status === 'pending' && tries < 10) continue;
    assert.deepEqual([body.status, body.session?.user.name], ['done', 'dave']);
    assert.equal((await api.call('GET', '/auth/session', undefined, bearer(body.token))).body.user.role, 'operator');
    return;
  }
});

test('fits on a phone, and is readable by day and by night', async () => {
  for (const colorScheme of ['light', 'dark'] as const) {
    const context = await browser.newContext({ colorScheme, viewport: { width: 360, height: 640 } });
    const page = await context.newPage();
    const refused: string[] = [];
    page.on('console', (message) => refused.push(message.text()));
    await page.goto(`${api.url}/signin`);
    const measured = await page.evaluate<Measured>(`(() => {
      const style = (selector) => getComputedStyle(document.querySelector(selector));
      return {
        wide: document.documentElement.scrollWidth,
        text: [style('body').color, style('main').backgroundColor],
        button: [style('button').color, style('button').backgroundColor],
        heights: [...document.querySelectorAll('button, input:not([type=hidden]), a.button')].map((each) => each.getBoundingClientRect().height),
      };
    })()`);
    assert.ok(measured.wide <= 360, `${measured.wide} px`);
    for (const pair of [measured.text, measured.button]) assert.ok(contrast(pair) >= 4.5, `${colorScheme}: ${pair.join(' on ')}`);
    for (const height of measured.heights) assert.ok(height >= 40, `${height} px`);
    assert.deepEqual(refused, []);
    await context.close();
  }
});

interface Measured {
  readonly wide: number;
  /** Colour and what is behind it. */
  readonly text: readonly string[];
  readonly button: readonly string[];
  readonly heights: readonly number[];
}

/** As WCAG 2 computes it, of two colours `rgb(r, g, b)`. */
function contrast(pair: readonly string[]): number {
  const [a = 0, b = 0] = pair.map((colour) => {
    const [red = 0, green = 0, blue = 0] = (colour.match(/\d+/g) ?? []).map((part) => {
      const value = Number(part) / 255;
      return value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  });
  return (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
}
