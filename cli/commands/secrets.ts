/** Secrets: what they are for. Their values go in here and are shown by nothing. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { RotationDriver, SecretRequest, SecretType, SecretView } from '@centaur/kernel/vault';
import { type Api, connect } from '../api.ts';
import { collect, examples, readJson, seconds, withJson } from '../arguments.ts';
import { EXIT, UsageError } from '../exit.ts';
import { clock, duration, fields, note, paint, print, printable, printJson, relative, table } from '../output.ts';
import { readValue, refuseValueArgument, type ValueOptions, withValue } from '../secret-value.ts';

const TYPES: readonly SecretType[] = ['http', 'oauth_token', 'gcp_auth', 'brokered_token', 'pg_dsn', 'aws_sigv4', 'hmac', 'webhook'];
const DRIVERS: readonly RotationDriver[] = ['generate', 'postgres_role', 'http', 'manual'];

interface SetOptions extends ValueOptions {
  readonly keepValue?: true;
  readonly for?: string;
  readonly host?: readonly string[];
  readonly method?: readonly string[];
  readonly path?: readonly string[];
  readonly header?: readonly string[];
  readonly query?: readonly string[];
  readonly inPath?: true;
  readonly inBody?: true;
  readonly inject?: NonNullable<SecretRequest['inject']>;
  readonly type?: SecretType;
  readonly option?: Readonly<Record<string, unknown>>;
  readonly source?: string;
  readonly rotateEvery?: number;
  readonly rotateDriver?: RotationDriver;
  readonly rotateWith?: string;
  readonly rotateHttp?: string;
  readonly grace?: number;
  readonly grant?: readonly string[];
  readonly json?: true;
}

export function addSecrets(program: Command): void {
  const secrets = program.command('secrets').description('Keep secrets, and say where each may go. No command shows a value.');
  examples(secrets, 'centaur secrets set STRIPE_API_KEY --host api.stripe.com', 'centaur secrets ls');

  const set = secrets
    .command('set')
    .summary('Make a secret, or describe it anew.')
    .description(
      'Make a secret, or describe it anew: all but the value is replaced by what is given. On a terminal the value is asked for and not shown; it is never taken from an argument.',
    )
    .argument('<name>', 'such as STRIPE_API_KEY: the variable in which programs get its placeholder')
    .option('--host <host>', 'where it may go: host, host:port or *.domain; give it again for more', collect)
    .option('--method <method>', 'only requests with this method; give it again for more', collect)
    .option('--path <glob>', 'only paths such as /v1/*; give it again for more', collect)
    .option('--header <name>', 'its placeholder counts in this header (default: in any); give it again for more', collect)
    .option('--query <name>', 'it counts in this parameter of the query; give it again for more', collect)
    .option('--in-path', 'it counts in the path')
    .option('--in-body', 'it counts in the body')
    .option('--inject <header>', `put it into every request, such as 'Authorization: Bearer {value}'`, injection)
    .addOption(
      new Option(
        '--type <type>',
        'what is made from it on the way (default http: it is sent itself); webhook: it verifies what is sent here',
      ).choices(TYPES),
    )
    .option('--option <name=value>', 'what the type needs, such as token_url=https://…; give it again for more', option)
    .option('--source <json>', `fetch it from elsewhere, such as '{"type": "env", "variable": "STRIPE_KEY"}'`)
    .option('--rotate-every <duration>', 'when a new value is due, such as 30d', seconds)
    .addOption(
      new Option(
        '--rotate-driver <driver>',
        'what makes it (default generate with that option, else manual: a person, whom the log tells)',
      ).choices(DRIVERS),
    )
    .option('--rotate-with <secret>', 'another secret, whose rights are used for it: of postgres_role, a DSN; of http, {{admin}}')
    .option('--rotate-http <json>', 'of http: the requests that make, try and revoke a value; @file reads it from a file')
    .option('--grace <duration>', 'how long an old value is still recognised (default 1h)', seconds)
    .option('--grant <principal>', 'let this principal use it; give it again for more', collect)
    .option('--for <tool>', 'where it may go, as this tool declares it; what is given besides counts more')
    .option('--keep-value', 'change only what is said about it')
    .action(setSecret);
  examples(
    withJson(withValue(set)),
    'centaur secrets set STRIPE_API_KEY --host api.stripe.com --header authorization --grant workflow:billing',
    'centaur secrets set GITHUB_TOKEN --for github',
    'pass stripe/key | centaur secrets set STRIPE_API_KEY --host api.stripe.com --value-stdin --rotate-every 30d',
    'centaur secrets set GITHUB_WEBHOOK_SECRET --type webhook',
    'centaur secrets set REPORTING --type pg_dsn --host db.internal:5432 --option role=reporting --rotate-every 30d --rotate-driver postgres_role',
  );

  const ls = secrets.command('ls').description('List the secrets.').action(list);
  examples(withJson(ls), 'centaur secrets ls');

  const show = secrets
    .command('show')
    .description('Show what a secret is for, and who may use it.')
    .argument('<name>', 'name of the secret')
    .action(showSecret);
  examples(withJson(show), 'centaur secrets show STRIPE_API_KEY');

  const rotate = secrets
    .command('rotate')
    .summary('Give a secret a new value.')
    .description(
      'Give a secret a new value. Leases and placeholders stay; the old value is recognised for a while. Without a value, the driver of its rotation makes one, in a run; of a secret that is rotated by hand, the value is asked for.',
    )
    .argument('<name>', 'name of the secret')
    .option('--grace <duration>', 'how long the old value is still recognised', seconds)
    .action(rotateSecret);
  examples(
    withJson(withValue(rotate)),
    'pass stripe/key | centaur secrets rotate STRIPE_API_KEY --value-stdin --grace 10m',
    'centaur secrets rotate REPORTING',
  );

  const rm = secrets
    .command('rm')
    .description('Destroy a secret with its values and grants, and end every lease that holds it.')
    .argument('<name>', 'name of the secret')
    .action(async (name: string, options: { readonly json?: true }) => {
      const removed = await connect().removeSecret(name);
      if (options.json) printJson(removed);
      else print(`removed ${name}`);
    });
  examples(withJson(rm), 'centaur secrets rm STRIPE_API_KEY');

  const rewrap = secrets
    .command('rewrap')
    .summary('Move all that is sealed to the present master key.')
    .description(
      'Move all that is sealed to the first of the master keys that the API was started with, so that the earlier ones can be taken away. It may be broken off and run again. Exits with 1 when something is left.',
    )
    .action(rewrapKeys);
  examples(withJson(rewrap), 'centaur secrets rewrap');
}

async function setSecret(name: string, options: SetOptions, command: Command): Promise<void> {
  refuseValueArgument(name, options, command);
  if (options.host === undefined && options.for === undefined && options.type !== 'webhook')
    throw new UsageError('--host: a secret needs a host that it may go to; give it again for more. Or --for the tool that needs it');
  const source = await readJson(options.source, '--source');
  const asks = options.source === undefined && !options.keepValue;
  if (!asks && (options.valueStdin || options.valueFile !== undefined))
    throw new UsageError(`give either a value or ${options.keepValue ? '--keep-value' : '--source'}`);
  const value = asks ? await readValue(name, options) : undefined;
  if (asks && (value === undefined || value === ''))
    throw new UsageError('no value: give --value-stdin, --value-file or --source; or --keep-value to change only what is said about it');
  const rotation = await rotationOf(options);
  const api = connect();
  const declared = options.for === undefined ? {} : await declaredBy(api, options.for, name);
  const secret = await api.putSecret(name, {
    ...declared,
    ...(options.host === undefined ? {} : { hosts: options.host }),
    ...(value === undefined ? {} : { value }),
    ...(source === undefined ? {} : { source }),
    ...(options.method === undefined ? {} : { methods: options.method }),
    ...(options.path === undefined ? {} : { paths: options.path }),
    ...(options.header === undefined ? {} : { match_headers: options.header }),
    ...(options.query === undefined ? {} : { match_query: options.query }),
    ...(options.inPath === undefined ? {} : { match_path: true }),
    ...(options.inBody === undefined ? {} : { match_body: true }),
    ...(options.inject === undefined ? {} : { inject: options.inject }),
    ...(options.type === undefined ? {} : { type: options.type }),
    ...(options.option === undefined ? {} : { options: options.option }),
    ...(rotation === undefined ? {} : { rotation }),
  });
  for (const principal of options.grant ?? []) await api.addGrant(principal, name);
  if (options.json) return printJson(secret);
  if (secret.type === 'webhook') return print(`${name} verifies webhooks`);
  print(`${name} may go to ${secret.hosts.join(', ')}`);
  if (options.for !== undefined) print(`tool:${options.for} may use it, as it declares`);
  else if (options.grant === undefined) {
    const { items } = await api.listGrants({ secret: name });
    if (items.length === 0) note(`nobody may use it yet: centaur grants add workflow:<name> ${name}`);
  }
}

async function rotationOf(options: SetOptions): Promise<SecretRequest['rotation']> {
  const { rotateEvery, grace, rotateDriver, rotateWith, rotateHttp } = options;
  const lonely = Object.entries({
    '--grace': grace,
    '--rotate-driver': rotateDriver,
    '--rotate-with': rotateWith,
    '--rotate-http': rotateHttp,
  }).find(([, given]) => given !== undefined);
  if (rotateEvery === undefined && lonely !== undefined) throw new UsageError(`${lonely[0]}: goes with --rotate-every`);
  if (rotateEvery === undefined) return undefined;
  const http = (await readJson(rotateHttp, '--rotate-http')) as NonNullable<SecretRequest['rotation']>['http'];
  return {
    every_seconds: rotateEvery,
    ...(grace === undefined ? {} : { grace_seconds: grace }),
    ...(rotateDriver === undefined ? {} : { driver: rotateDriver }),
    ...(rotateWith === undefined ? {} : { admin_secret: rotateWith }),
    ...(http === undefined ? {} : { http }),
  };
}

/** @throws UsageError when the tool does not ask for it */
async function declaredBy(api: Api, tool: string, name: string): Promise<Partial<SecretRequest>> {
  const { secrets } = await api.getTool(tool);
  const secret = secrets.find((each) => each.name === name);
  if (secret === undefined) {
    const names = secrets.map((each) => each.name).join(', ');
    throw new UsageError(`--for: ${tool} asks for ${names === '' ? 'no secret' : names}, and not for ${name}`);
  }
  const { type, hosts, methods, paths, match_headers, match_query, match_path, match_body } = secret;
  return {
    type: type as SecretType,
    hosts,
    ...(methods.length === 0 ? {} : { methods }),
    ...(paths.length === 0 ? {} : { paths }),
    ...(match_headers.length === 0 ? {} : { match_headers }),
    ...(match_query.length === 0 ? {} : { match_query }),
    ...(match_path ? { match_path } : {}),
    ...(match_body ? { match_body } : {}),
  };
}

async function rotateSecret(
  name: string,
  options: ValueOptions & { readonly grace?: number; readonly json?: true },
  command: Command,
): Promise<void> {
  refuseValueArgument(name, options, command);
  const api = connect();
  const isGiven = options.valueStdin === true || options.valueFile !== undefined;
  const driver = isGiven ? 'manual' : ((await api.getSecret(name)).rotation?.driver ?? 'manual');
  const value = driver === 'manual' ? await readValue(name, options) : undefined;
  if (driver === 'manual' && (value === undefined || value === '')) throw new UsageError('no value: give --value-stdin or --value-file');
  if (value === undefined && options.grace !== undefined)
    throw new UsageError('--grace: goes with a value; else it is as the secret’s rotation declares');
  const secret = await api.rotateSecret(name, value, options.grace);
  if (options.json) return printJson(secret);
  if (value !== undefined) return print(`${name} has version ${secret.version}`);
  print(`${name} is being rotated by ${driver}`);
  note(`see how far it is: centaur secrets show ${name}`);
}

async function rewrapKeys(options: { readonly json?: true }): Promise<void> {
  const report = await connect().rewrapKeys();
  if (report.left.length > 0) process.exitCode = EXIT.failed;
  if (options.json) return printJson(report);
  print(`moved ${report.moved} ${report.moved === 1 ? 'key' : 'keys'} to ${report.key}`);
  for (const { key, count, problem } of report.left) note(`${count} left under ${key}: ${problem}`);
  if (report.left.length === 0) note('no earlier master key is needed any more');
}

async function list(options: { readonly json?: true }): Promise<void> {
  const page = await connect().listSecrets();
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no secrets');
  const rows = page.items.map((secret) => [
    secret.name,
    secret.type,
    secret.hosts.join(', '),
    secret.source.type === 'sealed' ? `v${secret.version}` : secret.source.type,
    relative(secret.updated_at),
    secret.rotation_due_at !== null && Date.parse(secret.rotation_due_at) < Date.now() ? paint('red', dueText(secret)) : dueText(secret),
  ]);
  print(table(['SECRET', 'TYPE', 'HOSTS', 'VALUE', 'CHANGED', 'DUE'], rows));
}

async function showSecret(name: string, options: { readonly json?: true }): Promise<void> {
  const api = connect();
  const secret = await api.getSecret(name);
  if (options.json) return printJson(secret);
  const { items: grants } = await api.listGrants({ secret: name });
  const source = Object.entries(secret.source).map(([key, value]) => (key === 'type' ? value : `${key} ${value}`));
  print(
    fields(`${paint('bold', secret.name)} ${secret.type}`, {
      hosts: secret.hosts.join(', '),
      methods: secret.methods.join(', '),
      paths: secret.paths.join(', '),
      counts: placesText(secret.places),
      inject: !secret.inject ? '' : `${secret.inject.header}: ${secret.inject.format}`,
      value: secret.source.type === 'sealed' ? `sealed, version ${secret.version}` : source.join(', '),
      options: Object.keys(secret.options).length === 0 ? '' : JSON.stringify(secret.options),
      rotation:
        secret.rotation === null
          ? ''
          : `every ${duration(secret.rotation.every_seconds * 1000)}, ${dueText(secret)}, by ${secret.rotation.driver}${secret.rotation.admin_secret === undefined ? '' : ` with ${secret.rotation.admin_secret}`}`,
      rotated: secret.last_rotation === null ? '' : lastText(secret.last_rotation),
      granted: grants.length === 0 ? 'to nobody' : `to ${grants.map((grant) => grant.principal).join(', ')}`,
      created: `${clock(secret.created_at)} (${relative(secret.created_at)})`,
      changed: `${clock(secret.updated_at)} (${relative(secret.updated_at)})`,
    }),
  );
}

function dueText({ rotation_due_at }: SecretView): string {
  if (rotation_due_at === null) return '-';
  const when = relative(rotation_due_at);
  return when.endsWith('ago') ? `overdue, ${when}` : `due ${when}`;
}

const STATES: Readonly<Record<NonNullable<SecretView['last_rotation']>['state'], string>> = {
  asked: 'waits for a worker',
  begun: 'under way',
  active: 'the new value is in use, the one before in its grace',
  done: 'done',
  failed: 'failed; the value before stays in use',
  unrevoked: 'the new value is in use, and the one before may still be good at the service',
  ended: 'ended',
};

function lastText({ state, reason, asked_at, run_id, asked_by, retry_at }: NonNullable<SecretView['last_rotation']>): string {
  return [
    `${relative(asked_at)}, for ${printable(asked_by)}: ${STATES[state]}${reason === null ? '' : ` (${reason})`}`,
    ...(retry_at === null ? [] : [`next try ${relative(retry_at)}`]),
    // the clock asks no more
    ...(reason === 'MINT_UNKNOWN' ? ['next try when you rotate it'] : []),
    ...(run_id === null ? [] : [`run ${run_id}`]),
  ].join(', ');
}

function placesText({ headers, query, path, body }: SecretView['places']): string {
  const named = (what: string, found: readonly string[] | 'any') =>
    found === 'any' ? [`any ${what}`] : found.map((each) => `${what} ${printable(each)}`);
  return [...named('header', headers), ...named('query', query), ...(path ? ['path'] : []), ...(body ? ['body'] : [])].join(', ');
}

/** `Authorization: Bearer {value}`; the name of a header alone puts in the value itself. */
function injection(text: string): NonNullable<SecretRequest['inject']> {
  const [, header = '', format] = /^([^:\s]+)(?::\s*(.+))?$/.exec(text) ?? [];
  if (header === '' || (format !== undefined && !format.includes('{value}')))
    throw new InvalidArgumentError(`expected a header with {value} in it, such as 'Authorization: Bearer {value}'.`);
  return { header, ...(format === undefined ? {} : { format }) };
}

/** Options that are lists, whether one is named or more: a text in their place would allow all. */
const LISTS = new Set(['regions', 'services', 'scopes']);

function option(text: string, before: Readonly<Record<string, unknown>> = {}): Record<string, unknown> {
  const cut = text.indexOf('=');
  if (cut < 1) throw new InvalidArgumentError('expected name=value, such as token_url=https://login.example.com/token.');
  const name = text.slice(0, cut);
  const value = text.slice(cut + 1);
  if (LISTS.has(name) && !value.startsWith('[')) return { ...before, [name]: value.split(',').map((each) => each.trim()) };
  return { ...before, [name]: /^[[{]/.test(value) ? parseOption(name, value) : value };
}

function parseOption(name: string, value: string): unknown {
  try {
    return JSON.parse(value);
  } catch (error) {
    // a template of the hmac type begins like an object: {timestamp}.{body}
    if (/^\{\w+\}/.test(value)) return value;
    throw new InvalidArgumentError(`${name} is not JSON: ${(error as Error).message}.`);
  }
}
