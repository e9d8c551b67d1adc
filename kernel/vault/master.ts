/** The master key of an installation: 32 bytes here, or a key that a key service keeps. */
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import path from 'node:path';
import { awsCredentials, signAws } from './aws.ts';
import { localMasterKey, type MasterKey } from './envelope.ts';
import { VaultError } from './errors.ts';
import { googleToken } from './google.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * @param text 32 bytes in base64 or hex; `aws-kms:<key ARN>`, `gcp-kms:projects/…/cryptoKeys/<name>` or
 *   `vault-transit:<key name>`. Earlier 32-byte keys may follow, separated by commas: they still open what they sealed.
 * @throws VaultError MASTER_KEY_UNKNOWN, never with the key in its message
 */
export function readMasterKey(text: string, environment: Environment = process.env): MasterKey {
  const [first = '', ...earlier] = text.trim().split(/\s*,\s*/);
  const service = /^(aws-kms|gcp-kms|vault-transit):(.+)$/.exec(first);
  if (service !== null) {
    const earlierKeys = earlier.map(readBytes);
    const remote = remoteKey(service[1] as string, service[2] as string, environment);
    const [local, ...more] = earlierKeys;
    if (local === undefined) return remote;
    const before = localMasterKey(local, more);
    return { ...remote, unwrap: (wrapped, keyId) => (keyId === remote.id ? remote.unwrap(wrapped, keyId) : before.unwrap(wrapped, keyId)) };
  }
  return localMasterKey(readBytes(first), earlier.map(readBytes));
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
    const draft = `${file}.${process.pid}`;
    writeFileSync(draft, `${randomBytes(32).toString('base64')}\n`, { mode: 0o600 });
    try {
      // two that start at once end up with one key
      linkSync(draft, file);
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
    wrap: async (key) => Buffer.from(await wrap(key.toString('base64'))),
    unwrap: async (wrapped, keyId) => {
      if (keyId !== id)
        throw new VaultError('MASTER_KEY_UNKNOWN', `it was sealed under the master key ${keyId}, and this process has ${id}`);
      return Buffer.from(await unwrap(wrapped.toString()), 'base64');
    },
  };
}

interface RemoteCalls {
  readonly wrap: (plain: string) => Promise<string>;
  readonly unwrap: (wrapped: string) => Promise<string>;
}

function awsKms(arn: string, environment: Environment): RemoteCalls {
  const region = arn.split(':')[3] ?? environment['AWS_REGION'] ?? '';
  const url = new URL(environment['AWS_ENDPOINT_URL_KMS'] ?? `https://kms.${region}.amazonaws.com/`);
  const call = async (target: string, request: object): Promise<Record<string, string>> => {
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
        credentials: await awsCredentials(environment),
        now: new Date(),
      }),
      body,
      'AWS KMS',
    );
  };
  return {
    wrap: async (plain) => (await call('Encrypt', { Plaintext: plain }))['CiphertextBlob'] as string,
    unwrap: async (wrapped) => (await call('Decrypt', { CiphertextBlob: wrapped }))['Plaintext'] as string,
  };
}

function gcpKms(name: string, environment: Environment): RemoteCalls {
  const base = `${environment['GCP_KMS_URL'] ?? 'https://cloudkms.googleapis.com'}/v1/${name}`;
  const call = async (verb: string, request: object) => {
    const headers = { 'content-type': 'application/json', authorization: `Bearer ${await googleToken(environment)}` };
    return post(`${base}:${verb}`, headers, JSON.stringify(request), 'Google KMS');
  };
  return {
    wrap: async (plain) => (await call('encrypt', { plaintext: plain }))['ciphertext'] as string,
    unwrap: async (wrapped) => (await call('decrypt', { ciphertext: wrapped }))['plaintext'] as string,
  };
}

function vaultTransit(name: string, environment: Environment): RemoteCalls {
  const call = async (verb: string, request: object) => {
    const headers = { 'content-type': 'application/json', 'x-vault-token': environment['VAULT_TOKEN'] ?? '' };
    const answer = await post(
      `${(environment['VAULT_ADDR'] ?? '').replace(/\/$/, '')}/v1/transit/${verb}/${encodeURIComponent(name)}`,
      headers,
      JSON.stringify(request),
      'Vault',
    );
    return answer['data'] as unknown as Record<string, string>;
  };
  return {
    wrap: async (plain) => (await call('encrypt', { plaintext: plain }))['ciphertext'] as string,
    unwrap: async (wrapped) => (await call('decrypt', { ciphertext: wrapped }))['plaintext'] as string,
  };
}

async function post(url: string, headers: Record<string, string>, body: string, who: string): Promise<Record<string, string>> {
  const response = await fetch(url, { method: 'POST', headers, body, signal: AbortSignal.timeout(10_000), redirect: 'error' });
  if (!response.ok) throw new VaultError('MASTER_KEY_UNKNOWN', `${who} refused the master key: it answered ${response.status}`);
  return (await response.json()) as Record<string, string>;
}
