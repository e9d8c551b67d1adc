import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { createHash, createHmac, createVerify, generateKeyPairSync, randomBytes } from 'node:crypto';
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { test } from 'node:test';
import { createTestDatabase } from '../../test/support/database.ts';
import { eventually } from '../../test/support/wait.ts';
import { connectStore, type StoreLogEntry } from '../store/index.ts';
import { open, seal } from './envelope.ts';
import {
  createValues,
  ensureMasterKeyFile,
  localMasterKey,
  openInstallation,
  putSecret,
  readMasterKey,
  signAws,
  type Source,
} from './index.ts';
import { fetchValue, parseSource } from './sources.ts';

const VALUE = 'the-value-of-the-secret';
const TOKEN = 'the-token-for-the-source';
const AWS = { AWS_ACCESS_KEY_ID: 'AKIDEXAMPLE', AWS_SECRET_ACCESS_KEY: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' };

interface Seen {
  readonly method: string;
  readonly url: string;
  readonly headers: http.IncomingHttpHeaders;
  readonly body: string;
}

interface Service extends AsyncDisposable {
  readonly url: string;
  readonly seen: Seen[];
}

/** Answers with JSON, with a text as it is, or with a status. */
async function startFake(answer: (request: Seen) => object | string | number | Promise<object | string | number>): Promise<Service> {
  const seen: Seen[] = [];
  const server = http.createServer((request, response) => {
    let body = '';
    request.on('data', (chunk: Buffer) => (body += chunk.toString()));
    request.on('end', () => {
      const one = { method: request.method ?? '', url: request.url ?? '', headers: request.headers, body };
      seen.push(one);
      void Promise.resolve(answer(one)).then((given) => {
        if (typeof given === 'number') response.writeHead(given).end(`refused: ${VALUE}`);
        else response.end(typeof given === 'string' ? given : JSON.stringify(given));
      });
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    seen,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

type Remote = Exclude<Source, { type: 'sealed' }>;

/** Whether what a service was sent is signed as AWS describes: computed from the request alone, by the letter of their text. */
function isSigned({ method, url, headers, body }: Seen, secretKey: string): boolean {
  const parts =
    /^AWS4-HMAC-SHA256 Credential=([^/]+)\/(\d{8})\/([^/]+)\/([^/]+)\/aws4_request, SignedHeaders=([^,]+), Signature=([0-9a-f]{64})$/.exec(
      String(headers.authorization),
    );
  if (parts === null) return false;
  const [, , day, region, service, signed, signature] = parts as unknown as string[];
  const hex = (text: string) => createHash('sha256').update(text).digest('hex');
  const mac = (key: Buffer | string, text: string) => createHmac('sha256', key).update(text).digest();
  const names = (signed as string).split(';');
  const canonical = `${method}\n${url}\n\n${names.map((name) => `${name}:${String(headers[name])}\n`).join('')}\n${signed}\n${hex(body)}`;
  const date = String(headers['x-amz-date']);
  const toSign = `AWS4-HMAC-SHA256\n${date}\n${day}/${region}/${service}/aws4_request\n${hex(canonical)}`;
  const key = mac(mac(mac(mac(`AWS4${secretKey}`, day as string), region as string), service as string), 'aws4_request');
  return date.startsWith(day as string) && names.includes('host') && mac(key, toSign).toString('hex') === signature;
}

test('requests to AWS are signed as its published examples are', () => {
  const credentials = { accessKeyId: AWS.AWS_ACCESS_KEY_ID, secretAccessKey: AWS.AWS_SECRET_ACCESS_KEY };
  const sign = (method: string, url: string, headers: Record<string, string> = {}, body = '', service = 'service') =>
    signAws({
      method,
      url: new URL(url),
      headers,
      body,
      region: 'us-east-1',
      service,
      credentials,
      now: new Date('2015-08-30T12:36:00Z'),
    })['authorization']?.replace(/^.*Signature=/, '');
  // the suite aws-sig-v4-test-suite, by the names of its cases
  const base = 'https://example.amazonaws.com/';
  const form = { 'content-type': 'application/x-www-form-urlencoded' };
  const unreserved = '-._~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  const cases: Record<string, [given: string | undefined, expected: string]> = {
    'get-vanilla': [sign('GET', base), '5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31'],
    'get-vanilla-query-order-key-case': [
      sign('GET', `${base}?Param2=value2&Param1=value1`),
      'b97d918cfa904a5beff61c982a1b6f458b799221646efd99d3219ec94cdf2500',
    ],
    'get-vanilla-query-unreserved': [
      sign('GET', `${base}?${unreserved}=${unreserved}`),
      '9c3e54bfcdf0b19771a7f523ee5669cdf59bc7cc0884027167c21bb143a40197',
    ],
    'get-vanilla-utf8-query': [sign('GET', `${base}?ሴ=bar`), '2cdec8eed098649ff3a119c94853b13c643bcf08f8b0a1d91e12c9027818dd04'],
    'post-vanilla': [sign('POST', base), '5da7c1a2acd57cee7505fc6676e4e544621c30862966e37dddb68e92efbe5d6b'],
    'post-vanilla-query': [sign('POST', `${base}?Param1=value1`), '28038455d6de14eafc1f9222cf5aa6f1a96197d7deb8263271d420d138af7f11'],
    'post-x-www-form-urlencoded': [
      sign('POST', base, form, 'Param1=value1'),
      'ff11897932ad3f4e8b18135d722051e5ac45fc38421b1da7b9d196a0fe09473a',
    ],
    'the example of the IAM guide': [
      sign(
        'GET',
        'https://iam.amazonaws.com/?Action=ListUsers&Version=2010-05-08',
        { 'content-type': 'application/x-www-form-urlencoded; charset=utf-8' },
        '',
        'iam',
      ),
      '5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7',
    ],
  };
  for (const [name, [given, expected]] of Object.entries(cases)) assert.equal(given, expected, name);
});

test('values come from the environment and from files, whole or from a key of their JSON', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'centaur-sources-'));
  const file = path.join(folder, 'secret');
  writeFileSync(file, `${VALUE}\n`);
  assert.equal(await fetchValue({ type: 'file', path: file }), VALUE);
  writeFileSync(file, JSON.stringify({ key: VALUE, number: 5 }));
  assert.equal(await fetchValue({ type: 'file', path: file, json_key: 'key' }), VALUE);
  assert.equal(await fetchValue({ type: 'env', variable: 'KEY' }, { KEY: VALUE }), VALUE);
  assert.equal(await fetchValue({ type: 'env', variable: 'KEY', json_key: 'a' }, { KEY: `{"a":"${VALUE}"}` }), VALUE);
  const failing: [Remote, Record<string, string>, RegExp][] = [
    [{ type: 'env', variable: 'NONE' }, {}, /source env.*NONE is not set/],
    [{ type: 'env', variable: 'EMPTY' }, { EMPTY: '' }, /source env.*EMPTY is not set/],
    [{ type: 'env', variable: 'KEY', json_key: 'a' }, { KEY: VALUE }, /source env.*not JSON/],
    [{ type: 'env', variable: 'KEY', json_key: 'toString' }, { KEY: '{}' }, /source env.*no text under "toString"/],
    [{ type: 'file', path: file, json_key: 'number' }, {}, /source file.*no text under "number"/],
    [{ type: 'file', path: path.join(folder, 'none') }, {}, /source file.*ENOENT/],
  ];
  for (const [source, environment, message] of failing) await assertFails(source, environment, message);
  rmSync(folder, { recursive: true });
});

async function assertFails(source: Remote, environment: Record<string, string>, message: RegExp): Promise<void> {
  const error = (await fetchValue(source, environment).then(
    () => assert.fail('it gave a value'),
    (thrown: unknown) => thrown,
  )) as Error & { code: string };
  assert.equal(error.code, 'SOURCE_FAILED');
  assert.match(error.message, message);
  assert.ok(!error.message.includes(source.type === 'env' ? VALUE : 'the-'), error.message);
}

test('HashiCorp Vault: version 2 of key-value, with the token', async () => {
  await using fake = await startFake(({ headers, url }) =>
    headers['x-vault-token'] !== TOKEN ? 403 : url === '/v1/kv/data/team/a%20b/stripe' ? { data: { data: { key: VALUE, n: 1 } } } : 404,
  );
  const environment = { VAULT_ADDR: `${fake.url}/`, VAULT_TOKEN: TOKEN };
  const source = { type: 'vault', mount: 'kv', path: 'team/a b/stripe', field: 'key' } as const;
  assert.equal(await fetchValue(source, environment), VALUE);
  assert.equal(fake.seen[0]?.method, 'GET');
  const folder = mkdtempSync(path.join(tmpdir(), 'centaur-sources-'));
  writeFileSync(path.join(folder, 'token'), `${TOKEN}\n`);
  assert.equal(await fetchValue(source, { VAULT_ADDR: fake.url, VAULT_TOKEN_FILE: path.join(folder, 'token') }), VALUE);
  rmSync(folder, { recursive: true });
  await assertFails({ ...source, field: 'n' }, environment, /source vault.*no such field/);
  await assertFails({ ...source, path: 'other' }, environment, /source vault.*answered 404/);
  await assertFails(source, { ...environment, VAULT_TOKEN: 'the-wrong-one' }, /source vault.*answered 403/);
  await assertFails(source, { VAULT_TOKEN: TOKEN }, /source vault.*VAULT_ADDR is not set/);
  await assertFails(source, { VAULT_ADDR: fake.url }, /source vault.*VAULT_TOKEN/);
  // what a list of headers refuses, it quotes
  await assertFails(source, { ...environment, VAULT_TOKEN: `${TOKEN}\nx` }, /source vault.*the request cannot be made/);
});

test('1Password Connect: a field of an item by id or label, with the bearer token', async () => {
  await using fake = await startFake(({ headers, url }) =>
    headers.authorization === `Bearer ${TOKEN}` && url === '/v1/vaults/v%2F1/items/i1'
      ? {
          fields: [
            { id: 'f1', label: 'username', value: 'anna' },
            { id: 'f2', label: 'credential', value: VALUE },
          ],
        }
      : 401,
  );
  const environment = { OP_CONNECT_HOST: fake.url, OP_CONNECT_TOKEN: TOKEN };
  const source = { type: 'onepassword', vault: 'v/1', item: 'i1', field: 'credential' } as const;
  assert.equal(await fetchValue(source, environment), VALUE);
  assert.equal(await fetchValue({ ...source, field: 'f2' }, environment), VALUE);
  await assertFails({ ...source, field: 'none' }, environment, /source onepassword.*no such field/);
  await assertFails(source, { ...environment, OP_CONNECT_TOKEN: 'the-wrong-one' }, /source onepassword.*answered 401/);
});

test('AWS Secrets Manager: a signed request for the secret, with a session token when there is one', async () => {
  await using fake = await startFake((request) => {
    if (!isSigned(request, AWS.AWS_SECRET_ACCESS_KEY)) return 403;
    if (request.headers['x-amz-target'] !== 'secretsmanager.GetSecretValue') return 400;
    return { SecretString: JSON.stringify({ key: VALUE, id: (JSON.parse(request.body) as { SecretId: string }).SecretId }) };
  });
  const environment = { ...AWS, AWS_ENDPOINT_URL_SECRETS_MANAGER: `${fake.url}/` };
  const source = { type: 'aws_sm', region: 'eu-central-1', secret_id: 'prod/stripe', json_key: 'key' } as const;
  assert.equal(await fetchValue(source, environment), VALUE);
  assert.equal(await fetchValue({ ...source, json_key: 'id' }, environment), 'prod/stripe');
  assert.match(String(fake.seen[0]?.headers.authorization), /AKIDEXAMPLE\/\d{8}\/eu-central-1\/secretsmanager\/aws4_request/);
  assert.equal(await fetchValue(source, { ...environment, AWS_SESSION_TOKEN: 'session' }), VALUE);
  assert.equal(fake.seen[2]?.headers['x-amz-security-token'], 'session');
  assert.match(String(fake.seen[2]?.headers.authorization), /SignedHeaders=[^,]*x-amz-security-token/);
  await assertFails(source, { ...environment, AWS_SECRET_ACCESS_KEY: 'the-wrong-one' }, /source aws_sm.*answered 403/);
});

test('AWS credentials come from a container’s metadata service, with its token from a file', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'centaur-sources-'));
  writeFileSync(path.join(folder, 'token'), 'pod-token\n');
  await using fake = await startFake((request) => {
    if (request.url !== '/credentials') return isSigned(request, 'from-the-container') ? { SecretString: VALUE } : 403;
    if (request.headers.authorization !== 'pod-token') return 401;
    return { AccessKeyId: 'ASIAX', SecretAccessKey: 'from-the-container', Token: 'session' };
  });
  const environment = {
    AWS_CONTAINER_CREDENTIALS_FULL_URI: `${fake.url}/credentials`,
    AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: path.join(folder, 'token'),
    AWS_ENDPOINT_URL_SECRETS_MANAGER: `${fake.url}/`,
  };
  const source = { type: 'aws_sm', region: 'eu-central-1', secret_id: 'x' } as const;
  assert.equal(await fetchValue(source, environment), VALUE);
  await assertFails(source, { ...environment, AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE: '/nowhere' }, /source aws_sm.*ENOENT/);
  rmSync(folder, { recursive: true });
});

/** A token service for a service account's key, whose statement it verifies. */
async function startGoogle(answer: (request: Seen) => object | string | number) {
  const { publicKey, privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const folder = mkdtempSync(path.join(tmpdir(), 'centaur-google-'));
  const claims: Record<string, unknown>[] = [];
  const fake = await startFake((request) => {
    if (request.url !== '/token') return request.headers.authorization === 'Bearer google-token' ? answer(request) : 401;
    const form = new URLSearchParams(request.body);
    const [header = '', payload = '', signature = ''] = (form.get('assertion') ?? '').split('.');
    const verified = createVerify('RSA-SHA256').update(`${header}.${payload}`).verify(publicKey, signature, 'base64url');
    claims.push(JSON.parse(Buffer.from(payload, 'base64url').toString()) as Record<string, unknown>);
    return verified && form.get('grant_type') === 'urn:ietf:params:oauth:grant-type:jwt-bearer' ? { access_token: 'google-token' } : 400;
  });
  const file = path.join(folder, 'account.json');
  writeFileSync(
    file,
    JSON.stringify({
      client_email: 'robot@project.iam.gserviceaccount.com',
      private_key: privateKey.export({ format: 'pem', type: 'pkcs8' }),
      token_uri: `${fake.url}/token`,
    }),
  );
  return {
    ...fake,
    claims,
    file,
    async [Symbol.asyncDispose]() {
      rmSync(folder, { recursive: true });
      await fake[Symbol.asyncDispose]();
    },
  };
}

test('Google Secret Manager: the latest version, with a token for the service account', async () => {
  await using google = await startGoogle(({ url }) =>
    url === '/v1/projects/p/secrets/stripe/versions/latest:access' || url === '/v1/projects/p/secrets/stripe/versions/3:access'
      ? { payload: { data: Buffer.from(VALUE).toString('base64') } }
      : 404,
  );
  const environment = { GOOGLE_APPLICATION_CREDENTIALS: google.file, GCP_SECRETS_URL: google.url };
  assert.equal(await fetchValue({ type: 'gcp_sm', name: 'projects/p/secrets/stripe' }, environment), VALUE);
  assert.equal(await fetchValue({ type: 'gcp_sm', name: 'projects/p/secrets/stripe/versions/3' }, environment), VALUE);
  const [claims] = google.claims;
  assert.deepEqual(
    [claims?.['iss'], claims?.['aud'], claims?.['scope']],
    ['robot@project.iam.gserviceaccount.com', `${google.url}/token`, 'https://www.googleapis.com/auth/cloud-platform'],
  );
  await assertFails({ type: 'gcp_sm', name: 'projects/p/secrets/other' }, environment, /source gcp_sm.*answered 404/);
  writeFileSync(google.file, 'the-key-itself-and-no-JSON');
  await assertFails({ type: 'gcp_sm', name: 'projects/p/secrets/stripe' }, environment, /source gcp_sm.*not JSON/);
});

test('on a machine of Google the token comes from its metadata service', async () => {
  await using fake = await startFake(({ url, headers }) => {
    if (url !== '/computeMetadata/v1/instance/service-accounts/default/token')
      return headers.authorization === 'Bearer machine' ? { payload: { data: Buffer.from(VALUE).toString('base64') } } : 401;
    return headers['metadata-flavor'] === 'Google' ? { access_token: 'machine' } : 403;
  });
  const environment = { GCE_METADATA_HOST: fake.url.slice(7), GCP_SECRETS_URL: fake.url };
  assert.equal(await fetchValue({ type: 'gcp_sm', name: 'projects/p/secrets/stripe' }, environment), VALUE);
});

test('whatever a source does, its failure names it and quotes nothing', async () => {
  const sources = (url: string): [Remote, Record<string, string>][] => [
    [
      { type: 'vault', path: 'a', field: 'b' },
      { VAULT_ADDR: url, VAULT_TOKEN: TOKEN },
    ],
    [
      { type: 'onepassword', vault: 'a', item: 'b', field: 'c' },
      { OP_CONNECT_HOST: url, OP_CONNECT_TOKEN: TOKEN },
    ],
    [
      { type: 'aws_sm', region: 'eu-central-1', secret_id: 'x' },
      { ...AWS, AWS_ENDPOINT_URL_SECRETS_MANAGER: url },
    ],
    [
      { type: 'gcp_sm', name: 'projects/p/secrets/s' },
      { GCE_METADATA_HOST: url.slice(7), GCP_SECRETS_URL: url },
    ],
  ];
  // a value where JSON should be: the parser's own message would quote it
  await using texts = await startFake(() => VALUE);
  for (const [source, environment] of sources(texts.url))
    await assertFails(source, environment, new RegExp(`source ${source.type} .*not JSON`));
  await using empty = await startFake(() => ({}));
  for (const [source, environment] of sources(empty.url)) await assertFails(source, environment, new RegExp(`source ${source.type} `));
  await using moved = await startFake(() => 302);
  for (const [source, environment] of sources(moved.url)) await assertFails(source, environment, new RegExp(`source ${source.type} `));
  const gone = texts.url;
  await texts[Symbol.asyncDispose]();
  for (const [source, environment] of sources(gone))
    await assertFails(source, environment, new RegExp(`source ${source.type} .*cannot be reached \\([A-Z_]+\\)`));
});

test('descriptions of sources are held against what their type needs, and reach for nothing of the firewall’s own', () => {
  assert.deepEqual(parseSource({ type: 'env', variable: 'KEY', json_key: 'a' }), { type: 'env', variable: 'KEY', json_key: 'a' });
  const refused: [unknown, RegExp][] = [
    ['env', /^source: expected an object/],
    [{}, /^source\.type/],
    [{ type: 'toString' }, /^source\.type/],
    [{ type: 'env' }, /^source\.variable/],
    [{ type: 'env', variable: 5 }, /^source\.variable/],
    [{ type: 'env', variable: 'A', path: 'b' }, /^source\.path/],
    [{ type: 'vault', path: 'a' }, /^source\.field/],
    [{ type: 'env', variable: 'CENTAUR_MASTER_KEY' }, /^source\.variable.*the firewall's own/],
    [{ type: 'env', variable: 'DATABASE_URL' }, /^source\.variable/],
    [{ type: 'env', variable: 'VAULT_TOKEN' }, /^source\.variable/],
    [{ type: 'file', path: '/proc/self/environ' }, /^source\.path/],
    [{ type: 'file', path: '//proc/1/environ' }, /^source\.path/],
    [{ type: 'file', path: '/run/secrets/../../proc/self/environ' }, /^source\.path/],
    [{ type: 'file', path: 'secrets/key' }, /^source\.path/],
    [{ type: 'vault', path: '../../sys/raw/x', field: 'a' }, /^source\.path/],
    [{ type: 'vault', path: 'x', field: 'a', mount: '..' }, /^source\.path/],
    [{ type: 'aws_sm', region: 'evil.example/#', secret_id: 'x' }, /^source\.region/],
    [{ type: 'gcp_sm', name: 'projects/p/../../x' }, /^source\.name/],
  ];
  for (const [source, message] of refused)
    assert.throws(() => parseSource(source), { code: 'INVALID_SECRET', message }, JSON.stringify(source));
});

test('a value outlives an outage of its source until it is stale, and one source that hangs holds up nothing', async () => {
  await using database = await createTestDatabase();
  await using cleanup = new AsyncDisposableStack();
  const store = await connectStore({ url: database.url });
  cleanup.defer(() => store.close());
  const master = localMasterKey(randomBytes(32));
  const installation = await openInstallation({ store, master });
  cleanup.defer(() => installation.close());
  let answer: object | number | 'hang' = { data: { data: { key: VALUE } } };
  let letGo: (status: number) => void = () => {};
  const stuck = new Promise<number>((resolve) => (letGo = resolve));
  await using fake = await startFake(() => (answer === 'hang' ? stuck : answer));
  const parts = { store, audit: installation.audit, master };
  const source = { type: 'vault', path: 'a', field: 'key' };
  await putSecret(parts, 'test', 'REMOTE', { hosts: ['a.example'], source });
  const logs: StoreLogEntry[] = [];
  const environment = { VAULT_ADDR: fake.url, VAULT_TOKEN: TOKEN };
  const values = await createValues({ store, master, environment, log: (entry) => logs.push(entry), sourceMs: 200, staleMs: 5000 });
  cleanup.defer(() => values.close());
  assert.equal(values.get('REMOTE').value, VALUE);

  answer = 503;
  await eventually(() => logs.length === 1);
  assert.match(String(logs[0]?.['error']), /secret REMOTE .*source vault.*answered 503/);
  assert.equal(values.get('REMOTE').value, VALUE, 'it is used on');
  await eventually(() => {
    try {
      values.get('REMOTE');
      return false;
    } catch (error) {
      assert.equal((error as { code: string }).code, 'SOURCE_FAILED');
      assert.match((error as Error).message, /REMOTE.*vault/);
      return true;
    }
  });
  assert.equal(logs.length, 1, 'an outage is told once');
  assert.ok(
    values.known().some(({ value }) => value === VALUE),
    'it may still be echoed',
  );

  answer = { data: { data: { key: 'another-value-of-it' } } };
  await eventually(() => values.known().some(({ value }) => value === 'another-value-of-it'));
  assert.equal(values.get('REMOTE').value, 'another-value-of-it');
  // a value that cannot be used is a failure of its source, and is not told
  answer = { data: { data: { key: 'odd\nvalue-of-it' } } };
  await eventually(() => logs.length === 2);
  assert.match(String(logs[1]?.['error']), /secret REMOTE .*line break/);
  assert.doesNotMatch(JSON.stringify(logs), /value-of-/);

  answer = 'hang';
  const before = fake.seen.length;
  await eventually(() => fake.seen.length > before);
  await putSecret(parts, 'test', 'SEALED', { hosts: ['a.example'], value: 'a-sealed-value-of-ours' });
  void values.refresh();
  await eventually(() => values.known().some(({ name }) => name === 'SEALED'));
  await putSecret(parts, 'test', 'SEALED', { hosts: ['a.example'], value: 'the-next-sealed-value' });
  void values.refresh();
  await eventually(() => values.get('SEALED').value === 'the-next-sealed-value');
  letGo(500);
});

test('a master key is read from base64, hex and earlier ones after it; what is none is refused unquoted', async () => {
  const key = randomBytes(32);
  const old = randomBytes(32);
  assert.equal(readMasterKey(`${key.toString('base64')}\n`).id, localMasterKey(key).id);
  assert.equal(readMasterKey(key.toString('hex')).id, localMasterKey(key).id);
  assert.equal(readMasterKey(key.toString('base64url')).id, localMasterKey(key).id);
  const both = readMasterKey(`${key.toString('hex')}, ${old.toString('base64')}`);
  assert.equal(both.id, localMasterKey(key).id);
  assert.equal((await open(both, await seal(localMasterKey(old), Buffer.from(VALUE), 'x'), 'x')).toString(), VALUE);
  assert.equal((await seal(both, Buffer.from(VALUE), 'x')).kekId, localMasterKey(key).id);
  for (const text of [
    '',
    'hunter2-hunter2',
    key.toString('hex').slice(1),
    `${key.toString('hex')},`,
    `${key.toString('hex')},hunter2-hunter2`,
  ]) {
    let thrown: unknown;
    try {
      readMasterKey(text);
    } catch (error) {
      thrown = error;
    }
    const { code, message } = thrown as { code: string; message: string };
    assert.equal(code, 'MASTER_KEY_UNKNOWN');
    assert.doesNotMatch(message, /hunter2/);
    assert.ok(!message.includes(key.toString('hex').slice(1, 20)));
  }
});

test('processes that start at once end up with one master key file, which only its owner can read', async () => {
  const folder = mkdtempSync(path.join(tmpdir(), 'centaur-master-'));
  const file = path.join(folder, 'home', 'master.key');
  const script = `import { ensureMasterKeyFile } from ${JSON.stringify(new URL('./master.ts', import.meta.url).href)};
    const { text, made } = ensureMasterKeyFile(${JSON.stringify(file)});
    console.log(JSON.stringify({ text, made }));`;
  const started = await Promise.all(
    Array.from(
      { length: 4 },
      () =>
        new Promise<{ text: string; made: boolean }>((resolve, reject) => {
          execFile(process.execPath, ['--input-type=module', '-e', script], (error, stdout) =>
            error === null ? resolve(JSON.parse(stdout) as { text: string; made: boolean }) : reject(error),
          );
        }),
    ),
  );
  assert.equal(new Set(started.map(({ text }) => text)).size, 1);
  assert.equal(started.filter(({ made }) => made).length, 1);
  assert.equal(readFileSync(file, 'utf8'), started[0]?.text);
  assert.equal(statSync(file).mode & 0o777, 0o600);
  assert.deepEqual(readdirSync(path.dirname(file)), ['master.key'], 'no draft is left');
  readMasterKey(started[0]?.text as string);
  for (const mode of [0o604, 0o640, 0o620]) {
    chmodSync(file, mode);
    assert.throws(() => ensureMasterKeyFile(file), { code: 'MASTER_KEY_UNKNOWN', message: /may be read by others: chmod 600/ });
  }
  rmSync(folder, { recursive: true });
});

/** What a key service does, good enough to tell one wrapped key from another. */
const wrapped = (plain: string) => `wrapped:${Buffer.from(plain).toString('hex')}`;
const unwrapped = (text: string) => Buffer.from(text.replace(/^.*wrapped:/, ''), 'hex').toString();

async function assertWraps(text: string, environment: Record<string, string>): Promise<void> {
  const master = readMasterKey(text, environment);
  assert.equal(master.id, text);
  const sealed = await seal(master, Buffer.from(VALUE), 'x');
  assert.equal(sealed.kekId, text);
  assert.equal((await open(master, sealed, 'x')).toString(), VALUE);
  // after a change of the master key
  const key = randomBytes(32);
  const next = readMasterKey(`${key.toString('hex')},${text}`, environment);
  assert.equal((await open(next, sealed, 'x')).toString(), VALUE);
  const back = readMasterKey(`${text},${key.toString('hex')}`, environment);
  assert.equal((await open(back, await seal(localMasterKey(key), Buffer.from(VALUE), 'x'), 'x')).toString(), VALUE);
  await assert.rejects(open(localMasterKey(key), sealed, 'x'), { code: 'MASTER_KEY_UNKNOWN' });
}

test('AWS KMS as master key: signed calls that are bound to their use', async () => {
  const arn = 'arn:aws:kms:eu-central-1:111122223333:key/1234abcd';
  await using fake = await startFake((request) => {
    if (!isSigned(request, AWS.AWS_SECRET_ACCESS_KEY)) return 403;
    const body = JSON.parse(request.body) as Record<string, string>;
    assert.deepEqual([body['KeyId'], body['EncryptionContext']], [arn, { use: 'centaur' }]);
    return request.headers['x-amz-target'] === 'TrentService.Encrypt'
      ? { CiphertextBlob: wrapped(body['Plaintext'] as string) }
      : { Plaintext: unwrapped(body['CiphertextBlob'] as string) };
  });
  const environment = { ...AWS, AWS_ENDPOINT_URL_KMS: `${fake.url}/` };
  await assertWraps(`aws-kms:${arn}`, environment);
  assert.match(String(fake.seen[0]?.headers.authorization), /\/eu-central-1\/kms\/aws4_request/);
  await assert.rejects(readMasterKey(`aws-kms:${arn}`, { ...environment, AWS_SECRET_ACCESS_KEY: 'x' }).wrap(randomBytes(32)), {
    code: 'MASTER_KEY_UNKNOWN',
    message: /AWS KMS .*answered 403/,
  });
  assert.throws(() => readMasterKey('aws-kms:alias/centaur', AWS), { code: 'MASTER_KEY_UNKNOWN', message: /AWS_REGION/ });
});

test('Google KMS as master key', async () => {
  const name = 'projects/p/locations/eu/keyRings/r/cryptoKeys/k';
  await using google = await startGoogle(({ url, body }) => {
    const given = JSON.parse(body) as Record<string, string>;
    if (url === `/v1/${name}:encrypt`) return { ciphertext: wrapped(given['plaintext'] as string) };
    return url === `/v1/${name}:decrypt` ? { plaintext: unwrapped(given['ciphertext'] as string) } : 404;
  });
  await assertWraps(`gcp-kms:${name}`, { GOOGLE_APPLICATION_CREDENTIALS: google.file, GCP_KMS_URL: google.url });
});

test('Vault’s transit as master key, and clear words when it is away or says nothing', async () => {
  await using fake = await startFake(({ url, headers, body }) => {
    if (headers['x-vault-token'] !== TOKEN) return 403;
    const given = JSON.parse(body) as Record<string, string>;
    if (url === '/v1/transit/encrypt/centaur') return { data: { ciphertext: `vault:v1:${wrapped(given['plaintext'] as string)}` } };
    return url === '/v1/transit/decrypt/centaur' ? { data: { plaintext: unwrapped(given['ciphertext'] as string) } } : {};
  });
  const environment = { VAULT_ADDR: fake.url, VAULT_TOKEN: TOKEN };
  await assertWraps('vault-transit:centaur', environment);
  const wrap = (given: Record<string, string>, name = 'centaur') => readMasterKey(`vault-transit:${name}`, given).wrap(randomBytes(32));
  const code = 'MASTER_KEY_UNKNOWN';
  await assert.rejects(wrap(environment, 'other'), { code, message: /without a key/ });
  await assert.rejects(wrap({ VAULT_ADDR: fake.url }), { code, message: /VAULT_TOKEN/ });
  await assert.rejects(wrap({ ...environment, VAULT_TOKEN: 'wrong' }), { code, message: /Vault .*answered 403/ });
  assert.throws(() => readMasterKey('vault-transit:centaur', {}), { code, message: /set VAULT_ADDR/ });
  await fake[Symbol.asyncDispose]();
  await assert.rejects(wrap(environment), { code, message: /Vault .*cannot be reached/ });
});
