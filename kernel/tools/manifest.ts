/**
 * Checks what a tool declares, as its process told it: nothing of it is believed. What is wrong is said by field, and the tool is not
 * served; a mistyped field is wrong, since it would open more than was meant.
 */
import { type Duration, toMilliseconds } from '@centaur/sdk';
import { formatHostPattern, parseBinding, VaultError } from '../vault/index.ts';
import { schemaIssues, tooDeep } from './schema.ts';
import {
  type JsonSchema,
  type MethodDeclaration,
  type Opening,
  type Risk,
  RISKS,
  type SecretDeclaration,
  type ToolDeclaration,
} from './types.ts';

export interface ManifestProblem {
  /** `methods.get_issue.risk`. */
  readonly field: string;
  readonly message: string;
}

export type CheckedDeclaration =
  | { readonly ok: true; readonly declaration: ToolDeclaration }
  | { readonly ok: false; readonly problems: readonly ManifestProblem[] };

const BYTES_MOST = 1024 * 1024;
const PROBLEMS_MOST = 20;
const METHODS_MOST = 200;
const SECRETS_MOST = 50;
/** Of secrets and without: what a lease may open. */
const HOSTS_MOST = 200;
const DESCRIPTION_MOST = 4000;
const TIMEOUT_MS = 120_000;
const TIMEOUT_MOST_MS = 3_600_000;
const CONCURRENCY = 16;
const CONCURRENCY_MOST = 1000;
/** As in centaur.yaml. */
const MEMORY_MB = [64, 1_048_576] as const;
const PROCESSES = [16, 32_768] as const;
const SECRET_KINDS = ['http', 'oauth_token', 'gcp_auth', 'brokered_token', 'pg_dsn', 'aws_sigv4', 'hmac'];
const NAME = /^[a-z0-9][a-z0-9_-]{0,63}$/;
const METHOD = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;
const SECRET = /^[A-Z_][A-Z0-9_]{0,127}$/;

const TOOL_FIELDS = [
  'name',
  'description',
  'language',
  'secrets',
  'optional_secrets',
  'hosts',
  'timeout',
  'timeout_s',
  'concurrency',
  'memory_mb',
  'processes',
  'methods',
];
const METHOD_FIELDS = ['name', 'description', 'risk', 'input', 'output', 'idempotent', 'timeout', 'timeout_s'];
const PLACE_FIELDS = ['hosts', 'methods', 'paths', 'match_headers', 'match_query', 'match_path', 'match_body'];
const SECRET_FIELDS = ['name', 'type', 'optional', 'description', ...PLACE_FIELDS];
/** Of manifests for Python: how a value is got or sent, which the vault knows by itself. */
const VAULT_FIELDS =
  /^(?:secret_ref|mode|replacer|inject_\w+|grant|token_endpoint|token_endpoint_headers|headers|scopes|audience|fields|database|role|settings|allowed_services|allowed_regions|credential|subject|json_key|ttl|foreign_id)$/;

type Json = Readonly<Record<string, unknown>>;

/**
 * @param told as JSON: fields as in `ToolDefinition` of the SDK, with JSON Schemas; `methods` by name or as a list
 * @param known what is not the author's to say. The name is that of the folder, for a tool that says none.
 */
export function checkDeclaration(
  told: unknown,
  known: { readonly name: string; readonly language: 'node' | 'python' },
): CheckedDeclaration {
  const problems: ManifestProblem[] = [];
  const says = (field: string, message: string) => void problems.push({ field, message });
  const refused = (): CheckedDeclaration => ({ ok: false, problems: problems.slice(0, PROBLEMS_MOST) });

  if (!isObject(told)) {
    says('', 'expected an object, as defineTool makes it');
    return refused();
  }
  if (tooDeep(told, 80) || Buffer.byteLength(JSON.stringify(told)) > BYTES_MOST) {
    says('', `expected at most ${BYTES_MOST} bytes, not nested deeply`);
    return refused();
  }
  unknownFields(told, TOOL_FIELDS, '', says);
  const name = told['name'] ?? known.name;
  if (typeof name !== 'string' || !NAME.test(name))
    says('name', 'expected lower case letters, digits, _ and -, beginning with a letter or a digit, 64 at most');
  // `tools_call` and the like are the platform's own, where there are many
  else if (name === 'tools') says('name', 'it is the platform’s own: choose another');
  const hosts = list(told['hosts'], 'hosts', HOSTS_MOST, says).flatMap((each, i) => openings(each, `hosts[${i}]`, says));
  const common = hosts.map(({ host }) => host);
  const secrets = [
    ...list(told['secrets'], 'secrets', SECRETS_MOST, says).flatMap((each, i) => secret(each, `secrets[${i}]`, false, common, says)),
    ...list(told['optional_secrets'], 'optional_secrets', SECRETS_MOST, says).flatMap((each, i) =>
      secret(each, `optional_secrets[${i}]`, true, common, says),
    ),
  ];
  const twice = secrets.find(({ name: each }, i) => secrets.findIndex((other) => other.name === each) < i);
  if (twice !== undefined) says('secrets', `${twice.name} is declared twice`);
  const opened = hosts.length + secrets.reduce((sum, each) => sum + each.hosts.length, 0);
  if (opened > HOSTS_MOST) says('hosts', `${opened} hosts with those of the secrets; ${HOSTS_MOST} are the most`);
  const timeoutMs = timeout(told, '', TIMEOUT_MS, says);
  const concurrency = told['concurrency'] ?? CONCURRENCY;
  if (!isWhole(concurrency, 1, CONCURRENCY_MOST)) says('concurrency', `expected a whole number from 1 to ${CONCURRENCY_MOST}`);
  const declaration: ToolDeclaration = {
    name: name as string,
    description: description(told['description'], 'description', known.language, says),
    language: known.language,
    methods: methods(told['methods'], timeoutMs, known.language, says),
    secrets,
    hosts,
    concurrency: concurrency as number,
    memoryMb: need(told, 'memory_mb', MEMORY_MB, says),
    processes: need(told, 'processes', PROCESSES, says),
  };
  return problems.length === 0 ? { ok: true, declaration } : refused();
}

type Says = (field: string, message: string) => void;

function methods(told: unknown, toolMs: number, language: ToolDeclaration['language'], says: Says): MethodDeclaration[] {
  const named = isObject(told)
    ? Object.entries(told)
    : Array.isArray(told)
      ? told.map((each, i): [string, unknown] => [isObject(each) && typeof each['name'] === 'string' ? each['name'] : `[${i}]`, each])
      : [];
  if (named.length === 0) says('methods', 'expected at least one');
  if (named.length > METHODS_MOST) {
    says('methods', `${named.length}; ${METHODS_MOST} are the most`);
    return [];
  }
  const seen = new Set<string>();
  return named.flatMap(([name, each]) => {
    const field = `methods.${shown(name)}`;
    if (!METHOD.test(name)) {
      says(field, 'expected a name of letters, digits, _ and -, beginning with a letter, 64 at most');
      return [];
    }
    if (seen.has(name)) says(field, 'is declared twice');
    seen.add(name);
    if (!isObject(each)) {
      says(field, 'expected an object, as method makes it');
      return [];
    }
    unknownFields(each, METHOD_FIELDS, field, says);
    const { risk, idempotent } = each;
    if (!RISKS.includes(risk as Risk)) says(`${field}.risk`, `expected ${RISKS.join(', ')}`);
    if (idempotent !== undefined && idempotent !== null && typeof idempotent !== 'boolean')
      says(`${field}.idempotent`, 'expected true or false');
    return [
      {
        name,
        description: description(each['description'], `${field}.description`, language, says),
        risk: risk as Risk,
        input: schema(each['input'], `${field}.input`, says) ?? { type: 'object', properties: {}, additionalProperties: false },
        output: output(each['output'], `${field}.output`, says),
        idempotent: typeof idempotent === 'boolean' ? idempotent : risk === 'read',
        timeoutMs: timeout(each, field, toolMs, says),
      },
    ];
  });
}

function schema(told: unknown, field: string, says: Says): JsonSchema | undefined {
  if (told === undefined || told === null) return undefined;
  for (const { path, message } of schemaIssues(told)) says(path === '' ? field : `${field}.${path}`, message);
  return isObject(told) ? { ...told, type: 'object' } : undefined;
}

/** For readers: results are of any kind, and not held against it. */
function output(told: unknown, field: string, says: Says): JsonSchema | null {
  if (told === undefined || told === null) return null;
  if (!isObject(told) || Buffer.byteLength(JSON.stringify(told)) > 64 * 1024) {
    says(field, 'expected a JSON Schema of at most 64 KiB');
    return null;
  }
  return told;
}

function secret(told: unknown, field: string, optional: boolean, common: readonly string[], says: Says): SecretDeclaration[] {
  const given: Json = typeof told === 'string' ? { name: told } : isObject(told) ? told : {};
  if (typeof told !== 'string' && !isObject(told)) {
    says(field, 'expected a name, or an object with one');
    return [];
  }
  for (const key of Object.keys(given))
    if (!SECRET_FIELDS.includes(key) && !VAULT_FIELDS.test(key))
      says(`${field}.${shown(key)}`, `unknown field; known are ${SECRET_FIELDS.join(', ')}`);
  const name = given['name'] ?? given['secret_ref'];
  const type = given['type'] ?? 'http';
  if (typeof name !== 'string' || !SECRET.test(name)) says(`${field}.name`, 'expected capitals, digits and _, as in the vault');
  if (typeof name === 'string' && OWN.test(name)) says(`${field}.name`, `${shown(name)} is the platform's own`);
  if (typeof type !== 'string' || !SECRET_KINDS.includes(type)) says(`${field}.type`, `expected ${SECRET_KINDS.join(', ')}`);
  if (given['optional'] !== undefined && typeof given['optional'] !== 'boolean') says(`${field}.optional`, 'expected true or false');
  const texts = Object.fromEntries(
    ['hosts', 'methods', 'paths', 'match_headers', 'match_query'].map((key) => [key, names(given[key], `${field}.${key}`, says)]),
  ) as Readonly<Record<'hosts' | 'methods' | 'paths' | 'match_headers' | 'match_query', string[]>>;
  for (const key of ['match_path', 'match_body'])
    if (given[key] !== undefined && typeof given[key] !== 'boolean') says(`${field}.${key}`, 'expected true or false');
  const isDatabase = type === 'pg_dsn';
  const hosts = isDatabase ? [] : texts.hosts.length > 0 ? texts.hosts : [...common];
  if (isDatabase && texts.hosts.length > 0) says(`${field}.hosts`, 'a database has none: its address is in the secret');
  if (!isDatabase && hosts.length === 0) says(`${field}.hosts`, 'expected at least one host: a secret goes nowhere else');
  const description = given['description'];
  return [
    {
      name: name as string,
      type: type as string,
      optional: optional || given['optional'] === true,
      description: typeof description === 'string' && description !== '' ? plain(description).slice(0, DESCRIPTION_MOST) : null,
      ...(hosts.length === 0 ? { hosts: [], methods: [], paths: [] } : bound({ ...texts, hosts }, field, says)),
      match_headers: texts.match_headers.map((each) => each.toLowerCase()),
      match_query: texts.match_query,
      match_path: given['match_path'] === true,
      match_body: given['match_body'] === true,
    },
  ];
}

/** Names by which the platform itself is set up: a process with one of them in its environment would be another. */
const OWN = /^(?:CENTAUR_.*|DATABASE_URL|PATH|HOME|NODE_.*|PYTHON.*|LD_.*|.*_PROXY|PG.*|VAULT_TOKEN|SSL_CERT_FILE)$/;

function openings(told: unknown, field: string, says: Says): Opening[] {
  const given: Json = typeof told === 'string' ? { host: told } : isObject(told) ? told : {};
  unknownFields(given, ['host', 'methods', 'paths'], field, says);
  if (typeof given['host'] !== 'string') {
    says(field, 'expected a host such as api.example.com, or {host, methods, paths}');
    return [];
  }
  const lists = { methods: names(given['methods'], `${field}.methods`, says), paths: names(given['paths'], `${field}.paths`, says) };
  const { hosts, methods, paths } = bound({ hosts: [given['host']], ...lists }, field, says);
  return hosts.map((host) => ({ host, methods, paths }));
}

interface Bound {
  readonly hosts: string[];
  readonly methods: string[];
  readonly paths: string[];
}

/** In the one form in which the vault compares them. */
function bound(
  given: Bound & { readonly match_headers?: readonly string[]; readonly match_query?: readonly string[] },
  field: string,
  says: Says,
): Bound {
  try {
    const { hosts, methods, paths } = parseBinding(given);
    return { hosts: hosts.map(formatHostPattern), methods: [...methods], paths: [...paths] };
  } catch (error) {
    if (!(error instanceof VaultError)) throw error;
    says(field, error.message.slice(0, 300));
    return { hosts: [], methods: [], paths: [] };
  }
}

function timeout(told: Json, field: string, otherwise: number, says: Says): number {
  const at = (name: string) => (field === '' ? name : `${field}.${name}`);
  const seconds = told['timeout_s'];
  if (seconds === undefined && (told['timeout'] === undefined || told['timeout'] === null)) return otherwise;
  let ms = Number.NaN;
  try {
    ms =
      seconds === undefined ? toMilliseconds(told['timeout'] as Duration) : typeof seconds === 'number' ? Math.round(seconds * 1000) : ms;
  } catch {
    // said below, in one way for all that is wrong with it
  }
  if (ms >= 1 && ms <= TIMEOUT_MOST_MS) return ms;
  says(at(seconds === undefined ? 'timeout' : 'timeout_s'), 'expected a time such as "90s", an hour at most');
  return otherwise;
}

function need(told: Json, field: string, [least, most]: readonly [number, number], says: Says): number | null {
  const value = told[field] ?? null;
  if (value === null || isWhole(value, least, most)) return value as number | null;
  says(field, `expected a whole number from ${least} to ${most}`);
  return null;
}

function description(told: unknown, field: string, language: ToolDeclaration['language'], says: Says): string {
  // one without is a pity, but tools were written that way
  if (language === 'python' && (told === undefined || told === null)) return '';
  if (typeof told !== 'string' || (told.trim() === '' && language !== 'python'))
    says(field, 'expected a sentence or two: agents choose by it');
  else if (told.length > DESCRIPTION_MOST) says(field, `${told.length} characters; ${DESCRIPTION_MOST} are the most`);
  return typeof told === 'string' ? plain(told).trim() : '';
}

/** It is printed in terminals: nothing in it moves the cursor, colours the text or turns its direction. */
function plain(text: string): string {
  return text
    .toWellFormed()
    .replaceAll('\r\n', '\n')
    .replaceAll(/[^\P{Cc}\n\t]|\p{Bidi_Control}/gu, '');
}

function unknownFields(given: Json, known: readonly string[], field: string, says: Says): void {
  for (const key of Object.keys(given))
    if (!known.includes(key)) says(field === '' ? shown(key) : `${field}.${shown(key)}`, `unknown field; known are ${known.join(', ')}`);
}

function list(told: unknown, field: string, most: number, says: Says): readonly unknown[] {
  if (told === undefined || told === null) return [];
  if (Array.isArray(told) && told.length <= most) return told;
  says(field, `expected a list of ${most} at most`);
  return [];
}

function names(told: unknown, field: string, says: Says): string[] {
  if (told === undefined || told === null) return [];
  if (Array.isArray(told) && told.length <= HOSTS_MOST && told.every((each) => typeof each === 'string' && each.length <= 500))
    return told as string[];
  says(field, `expected a list of ${HOSTS_MOST} texts at most`);
  return [];
}

const isObject = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);
const isWhole = (value: unknown, least: number, most: number): boolean =>
  Number.isInteger(value) && (value as number) >= least && (value as number) <= most;
const shown = (name: string): string => plain(name).slice(0, 64);
