/** The master key of an installation: 32 bytes here, or a key that a key service keeps. */
import { closeSync, existsSync, fsyncSync, linkSync, mkdirSync, openSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { awsCredentials, awsDomain, isRegion, signAws } from './aws.ts';
import { localMasterKey, type MasterKey } from './envelope.ts';
import { VaultError, whatFailed } from './errors.ts';
import { googleToken } from './google.ts';
import { vaultToken } from './sources.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * @param text 32 bytes in base64 or hex; `aws-kms:<key ARN>`, `gcp-kms:projects/…/cryptoKeys/<name>` or
 *   `vault-transit:<key name>`. Earlier ones may follow, separated by commas: they still open what they sealed.
 * @throws VaultError MASTER_KEY_UNKNOWN, never with the key in its message
 */
export function readMasterKey(text: string, environment: Environment = process.env): MasterKey {
  const keys = text
    .trim()
    .split(/\s*,\s*/)
    .map((each) => {
      const service = /^(aws-kms|gcp-kms|vault-transit):(.+)$/.exec(each);
      return service === null ? localMasterKey(readBytes(each)) : remoteKey(service[1] as string, service[2] as string, environment);
    });
  const [first] = keys as [MasterKey];
  return {
    id: first.id,
    wrap: first.wrap,
    unwrap: async (wrapped, keyId) => {
      const key = keys.find(({ id }) => id === keyId);
      if (key !== undefined) return key.unwrap(wrapped, keyId);
      throw new VaultError(
        'MASTER_KEY_UNKNOWN',
        `it was sealed under the master key ${keyId}, and this process has ${keys.map(({ id }) => id).join(', ')}`,
      );
    },
  };
}

function readBytes(text: string): Buffer {
  const bytes = /^[0-9a-fA-F]{64}$/.test(text)
    ? Buffer.from(text, 'hex')
    : /^[A-Za-z0-9+/_-]{43}=?$/.test(text)
      ? Buffer.from(text, 'base64')
      : undefined;
  if (bytes?.length !== 32)
    throw new VaultError(
      'MASTER_KEY_UNKNOWN',
      'CENTAUR_MASTER_KEY: expected 32 bytes in base64 or hex (openssl rand -base64 32), aws-kms:…, gcp-kms:… or vault-transit:…',
    );
  return bytes;
}

/**
 * The key in a file, made at the first start. Whoever has this file and the database has every secret: back it up apart
 * from the database.
 *
 * @throws VaultError MASTER_KEY_UNKNOWN when others may read the file
 */
export function ensureMasterKeyFile(file: string): { readonly text: string; readonly made: boolean } {
  if (!existsSync(file)) {
    mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
    const draft = `${file}.${randomBytes(6).toString('hex')}`;
    writeFileSync(draft, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600, flag: 'wx' });
    try {
      // a key that a power cut takes back would take every secret with it
      flush(draft);
      // two that start at once end up with one key
      linkSync(draft, file);
      flush(path.dirname(file));
      return { text: readFileSync(file, 'utf8'), made: true };
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
    } finally {
      rmSync(draft, { force: true });
    }
  }
  if ((statSync(file).mode & 0o077) !== 0)
    throw new VaultError('MASTER_KEY_UNKNOWN', `${file} may be read by others: chmod 600 it, and rotate it if they could have read it`);
  return { text: readFileSync(file, 'utf8'), made: false };
}

function flush(file: string): void {
  const handle = openSync(file, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/** A key that never leaves its service: it wraps and unwraps there. */
function remoteKey(kind: string, name: string, environment: Environment): MasterKey {
  const id = `${kind}:${name}`;
  const calls = { 'aws-kms': awsKms, 'gcp-kms': gcpKms, 'vault-transit': vaultTransit }[kind] as (
    name: string,
    environment: Environment,
  ) => RemoteCalls;
  const { wrap, unwrap } = calls(name, environment);
  return {
    id,
    wrap: async (key) => Buffer.from(answered(await wrap(key.toString('base64')))),
    unwrap: async (wrapped, keyId) => {
      if (keyId !== id)
        throw new VaultError('MASTER_KEY_UNKNOWN', `it was sealed under the master key ${keyId}, and this process has ${id}`);
      return Buffer.from(answered(await unwrap(wrapped.toString())), 'base64');
    },
  };
}

interface RemoteCalls {
  readonly wrap: (plain: string) => Promise<string | undefined>;
  readonly unwrap: (wrapped: string) => Promise<string | undefined>;
}

function answered(text: string | undefined): string {
  if (typeof text === 'string' && text !== '') return text;
  throw new VaultError('MASTER_KEY_UNKNOWN', 'the key service answered without a key');
}

function awsKms(arn: string, environment: Environment): RemoteCalls {
  const region = arn.split(':')[3] ?? environment['AWS_REGION'] ?? '';
  if (!isRegion(region))
    throw new VaultError('MASTER_KEY_UNKNOWN', 'CENTAUR_MASTER_KEY: aws-kms: expected the ARN of a key, or AWS_REGION');
  const url = new URL(environment['AWS_ENDPOINT_URL_KMS'] ?? `https://kms.${region}.${awsDomain(region)}/`);
  const call = async (target: string, request: object): Promise<Record<string, string | undefined>> => {
    const body = JSON.stringify({ KeyId: arn, EncryptionContext: { use: 'centaur' }, ...request });
    const headers = { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': `TrentService.${target}` };
    return post(
      url.href,
      signAws({
        method: 'POST',
        url,
        headers,
        body,
        region,
        service: 'kms',
        credentials: await awsCredentials(environment).catch(unreachable('AWS KMS')),
        now: new Date(),
      }),
      body,
      'AWS KMS',
    );
  };
  return {
    wrap: async (plain) => (await call('Encrypt', { Plaintext: plain }))['CiphertextBlob'],
    unwrap: async (wrapped) => (await call('Decrypt', { CiphertextBlob: wrapped }))['Plaintext'],
  };
}

function gcpKms(name: string, environment: Environment): RemoteCalls {
  const base = `${environment['GCP_KMS_URL'] ?? 'https://cloudkms.googleapis.com'}/v1/${name}`;
  const call = async (verb: string, request: object) => {
    const headers = {
      'content-type': 'application/json',
      authorization: `Bearer ${await googleToken(environment).catch(unreachable('Google KMS'))}`,
    };
    return post(`${base}:${verb}`, headers, JSON.stringify(request), 'Google KMS');
  };
  return {
    wrap: async (plain) => (await call('encrypt', { plaintext: plain }))['ciphertext'],
    unwrap: async (wrapped) => (await call('decrypt', { ciphertext: wrapped }))['plaintext'],
  };
}

function vaultTransit(name: string, environment: Environment): RemoteCalls {
  const address = environment['VAULT_ADDR'];
  if (address === undefined || address === '')
    throw new VaultError('MASTER_KEY_UNKNOWN', 'CENTAUR_MASTER_KEY: vault-transit: set VAULT_ADDR');
  const call = async (verb: string, request: object) => {
    const headers = { 'content-type': 'application/json', 'x-vault-token': await vaultToken(environment).catch(unreachable('Vault')) };
    const answer = await post(
      `${address.replace(/\/$/, '')}/v1/transit/${verb}/${encodeURIComponent(name)}`,
      headers,
      JSON.stringify(request),
      'Vault',
    );
    return (answer['data'] ?? {}) as unknown as Record<string, string | undefined>;
  };
  return {
    wrap: async (plain) => (await call('encrypt', { plaintext: plain }))['ciphertext'],
    unwrap: async (wrapped) => (await call('decrypt', { ciphertext: wrapped }))['plaintext'],
  };
}

async function post(url: string, headers: Record<string, string>, body: string, who: string): Promise<Record<string, string | undefined>> {
  const options = { method: 'POST', headers, body, signal: AbortSignal.timeout(10_000), redirect: 'error' } as const;
  const response = await fetch(url, options).catch(unreachable(who));
  if (!response.ok) throw new VaultError('MASTER_KEY_UNKNOWN', `${who} refused the master key: it answered ${response.status}`);
  return (await response.json().catch(unreachable(who))) as Record<string, string | undefined>;
}

function unreachable(who: string): (error: unknown) => never {
  return (error) => {
    throw new VaultError('MASTER_KEY_UNKNOWN', `${who} did not open the master key: ${whatFailed(error)}`, { cause: error });
  };
}
