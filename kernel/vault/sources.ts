/**
 * Where values come from: sealed here, or fetched from where an organisation keeps them. The fetching is done by the
 * process that uses the value, with that machine's own rights. Plain HTTP calls, so that no vendor's SDK is in the kernel.
 */
import { readFile, realpath } from 'node:fs/promises';
import path from 'node:path';
import { VaultError, whatFailed } from './errors.ts';
import { awsCredentials, awsDomain, isRegion, signAws } from './aws.ts';
import { googleToken } from './google.ts';

export type Source =
  | { readonly type: 'sealed' }
  /** A variable of the firewall's own environment. */
  | { readonly type: 'env'; readonly variable: string; readonly json_key?: string }
  | { readonly type: 'file'; readonly path: string; readonly json_key?: string }
  /** KV version 2; VAULT_ADDR and VAULT_TOKEN (or a token file) in the environment. */
  | { readonly type: 'vault'; readonly path: string; readonly field: string; readonly mount?: string }
  /** 1Password Connect; OP_CONNECT_HOST and OP_CONNECT_TOKEN in the environment. */
  | { readonly type: 'onepassword'; readonly vault: string; readonly item: string; readonly field: string }
  | { readonly type: 'aws_sm'; readonly secret_id: string; readonly region: string; readonly json_key?: string }
  | { readonly type: 'gcp_sm'; readonly name: string; readonly json_key?: string };

const FIELDS: Readonly<Record<Source['type'], { readonly needed: readonly string[]; readonly optional: readonly string[] }>> = {
  sealed: { needed: [], optional: [] },
  env: { needed: ['variable'], optional: ['json_key'] },
  file: { needed: ['path'], optional: ['json_key'] },
  vault: { needed: ['path', 'field'], optional: ['mount'] },
  onepassword: { needed: ['vault', 'item', 'field'], optional: [] },
  aws_sm: { needed: ['secret_id', 'region'], optional: ['json_key'] },
  gcp_sm: { needed: ['name'], optional: ['json_key'] },
};

export const SOURCE_TYPES = Object.keys(FIELDS) as readonly Source['type'][];

/** @throws VaultError INVALID_SECRET naming the field */
export function parseSource(value: unknown): Source {
  if (typeof value !== 'object' || value === null)
    throw new VaultError('INVALID_SECRET', 'source: expected an object such as {"type": "env", "variable": "STRIPE_KEY"}');
  const { type, ...rest } = value as { readonly type?: string; readonly [field: string]: unknown };
  if (type === undefined || !Object.hasOwn(FIELDS, type))
    throw new VaultError('INVALID_SECRET', `source.type: expected one of ${SOURCE_TYPES.join(', ')}`);
  const { needed, optional } = FIELDS[type as Source['type']];
  for (const field of needed)
    if (rest[field] === undefined) throw new VaultError('INVALID_SECRET', `source.${field}: a source of type ${type} needs it`);
  for (const [field, given] of Object.entries(rest)) {
    if (!needed.includes(field) && !optional.includes(field))
      throw new VaultError('INVALID_SECRET', `source.${field}: a source of type ${type} has no such field`);
    if (typeof given !== 'string' || given === '' || given.length > 1000)
      throw new VaultError('INVALID_SECRET', `source.${field}: expected a text`);
  }
  const source = value as Source;
  const refused = whatIsRefused(source);
  if (refused !== undefined) throw new VaultError('INVALID_SECRET', `source.${refused}`);
  return source;
}

/** What the firewall itself lives on. Whoever may describe a secret must not have these sent to a host of their choice. */
const OWN_VARIABLES = /^(?:CENTAUR_.*|DATABASE_URL|PGPASSWORD|VAULT_TOKEN|OP_CONNECT_TOKEN)$/i;

/** Whether a variable of the environment is the installation's own, and so no secret of a service. */
export function isOwnVariable(name: string): boolean {
  return OWN_VARIABLES.test(name);
}

function whatIsRefused(source: Source): string | undefined {
  const climbs = (text: string) => text.split('/').some((part) => part === '..' || part === '.') || /[?#\\]/.test(text);
  switch (source.type) {
    case 'env':
      return isOwnVariable(source.variable) ? `variable: ${source.variable} is the firewall's own, and no secret to hand out` : undefined;
    case 'file':
      if (!source.path.startsWith('/') || source.path.split('/').includes('..')) return 'path: expected a path from the root, without ..';
      return /^\/+(?:proc|sys|dev)(?:\/|$)/.test(source.path) ? `path: ${source.path} is no file that keeps a secret` : undefined;
    case 'vault':
      return climbs(source.path) || climbs(source.mount ?? '') ? 'path: expected names with slashes between them' : undefined;
    case 'aws_sm':
      return isRegion(source.region) ? undefined : 'region: expected a region such as eu-central-1';
    case 'gcp_sm':
      return climbs(source.name) ? 'name: expected projects/…/secrets/…' : undefined;
    case 'onepassword':
    case 'sealed':
      return undefined;
  }
}

const FETCH_MS = 10_000;

/** @throws VaultError SOURCE_FAILED, never with a value or a token in its message */
export async function fetchValue(
  source: Exclude<Source, { type: 'sealed' }>,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<string> {
  const found = await fetchRaw(source, environment).catch((error: unknown) => {
    throw error instanceof VaultError ? error : failed(source, whatFailed(error));
  });
  if (!('json_key' in source) || source.json_key === undefined) return found.replace(/\r?\n$/, '');
  let value: unknown;
  try {
    value = (JSON.parse(found) as Record<string, unknown>)[source.json_key];
  } catch {
    throw failed(source, 'it is not JSON, and a json_key was given');
  }
  if (typeof value !== 'string') throw failed(source, `its JSON has no text under ${JSON.stringify(source.json_key)}`);
  return value;
}

async function fetchRaw(
  source: Exclude<Source, { type: 'sealed' }>,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<string> {
  switch (source.type) {
    case 'env': {
      const value = environment[source.variable];
      if (value === undefined || value === '') throw failed(source, `the variable ${source.variable} is not set for the firewall`);
      return value;
    }
    case 'file':
      await refuseOwnFiles(source, environment);
      return readFile(source.path, 'utf8');
    case 'vault': {
      const address = needed(source, environment, 'VAULT_ADDR');
      const token = await vaultToken(environment);
      const path = source.path.split('/').map(encodeURIComponent).join('/');
      const answer = (await getJson(source, `${address}/v1/${source.mount ?? 'secret'}/data/${path}`, { 'x-vault-token': token })) as {
        data?: { data?: Record<string, unknown> };
      };
      return text(source, answer.data?.data?.[source.field]);
    }
    case 'onepassword': {
      const host = needed(source, environment, 'OP_CONNECT_HOST');
      const headers = { authorization: `Bearer ${needed(source, environment, 'OP_CONNECT_TOKEN')}` };
      const item = (await getJson(
        source,
        `${host}/v1/vaults/${encodeURIComponent(source.vault)}/items/${encodeURIComponent(source.item)}`,
        headers,
      )) as {
        fields?: readonly { id?: string; label?: string; value?: unknown }[];
      };
      return text(source, item.fields?.find((field) => field.id === source.field || field.label === source.field)?.value);
    }
    case 'aws_sm': {
      const url = new URL(
        environment['AWS_ENDPOINT_URL_SECRETS_MANAGER'] ?? `https://secretsmanager.${source.region}.${awsDomain(source.region)}/`,
      );
      const body = JSON.stringify({ SecretId: source.secret_id });
      const headers = { 'content-type': 'application/x-amz-json-1.1', 'x-amz-target': 'secretsmanager.GetSecretValue' };
      const signed = signAws({
        method: 'POST',
        url,
        headers,
        body,
        region: source.region,
        service: 'secretsmanager',
        credentials: await awsCredentials(environment),
        now: new Date(),
      });
      const answer = (await getJson(source, url.href, signed, body)) as { SecretString?: unknown };
      return text(source, answer.SecretString);
    }
    case 'gcp_sm': {
      const base = environment['GCP_SECRETS_URL'] ?? 'https://secretmanager.googleapis.com';
      const token = await googleToken(environment);
      const name = source.name.includes('/versions/') ? source.name : `${source.name}/versions/latest`;
      const answer = (await getJson(source, `${base}/v1/${name}:access`, { authorization: `Bearer ${token}` })) as {
        payload?: { data?: unknown };
      };
      return Buffer.from(text(source, answer.payload?.data), 'base64').toString('utf8');
    }
  }
}

/** From VAULT_TOKEN, or the file that Vault's agent writes: VAULT_TOKEN_FILE. */
export async function vaultToken(environment: Readonly<Record<string, string | undefined>>): Promise<string> {
  const { VAULT_TOKEN: token, VAULT_TOKEN_FILE: file } = environment;
  if (token !== undefined && token !== '') return token;
  if (file === undefined || file === '') throw new Error('neither VAULT_TOKEN nor VAULT_TOKEN_FILE is set');
  return (await readFile(file, 'utf8')).trim();
}

async function getJson(source: Source, url: string, headers: Readonly<Record<string, string>>, body?: string): Promise<unknown> {
  const response = await fetch(url, {
    headers,
    signal: AbortSignal.timeout(FETCH_MS),
    redirect: 'error',
    ...(body === undefined ? {} : { method: 'POST', body }),
  });
  if (!response.ok) throw failed(source, `it answered ${response.status}`);
  return response.json();
}

function needed(source: Source, environment: Readonly<Record<string, string | undefined>>, variable: string): string {
  const value = environment[variable];
  if (value === undefined || value === '') throw failed(source, `${variable} is not set for the firewall`);
  return value.replace(/\/$/, '');
}

function text(source: Source, value: unknown): string {
  if (typeof value !== 'string' || value === '') throw failed(source, 'it has no such field, or the field is empty');
  return value;
}

function failed(source: Source, why: string): VaultError {
  return new VaultError('SOURCE_FAILED', `the source ${source.type} gave no value: ${why}`);
}

/**
 * What the installation keeps for itself is no secret of a service: whoever may describe secrets could have the master key
 * sent to a host of theirs. Links are followed first.
 */
async function refuseOwnFiles(
  source: Extract<Source, { type: 'file' }>,
  environment: Readonly<Record<string, string | undefined>>,
): Promise<void> {
  const file = await realpath(source.path);
  const home = environment['CENTAUR_HOME'] ?? (environment['HOME'] === undefined ? undefined : path.join(environment['HOME'], '.centaur'));
  const own = [
    home,
    environment['CENTAUR_MASTER_KEY_FILE'],
    environment['VAULT_TOKEN_FILE'],
    environment['GOOGLE_APPLICATION_CREDENTIALS'],
  ];
  for (const each of own) {
    if (each === undefined || each === '') continue;
    const place = await realpath(each).catch(() => path.resolve(each));
    if (file === place || file.startsWith(`${place}${path.sep}`)) throw failed(source, 'that file is the installation’s own');
  }
}
