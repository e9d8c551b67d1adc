/** Accounts at other services: connecting them by OAuth, and the apps by which that is done. No command shows a token. */
import { setTimeout as sleep } from 'node:timers/promises';
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { ConnectionView, OAuthAppRequest, StartedConnection } from '@centaur/kernel/oauth';
import { type Api, connect } from '../api.ts';
import { collect, examples, withJson } from '../arguments.ts';
import { EXIT, HintedError, UsageError } from '../exit.ts';
import { note, paint, print, printable, printJson, relative, status, table } from '../output.ts';
import { readValue, refuseValueArgument, type ValueOptions, withValue } from '../secret-value.ts';

const PROVIDERS: readonly OAuthAppRequest['provider'][] = ['google', 'github', 'slack', 'linear', 'custom'];
const LOOK_MS = 1000;

interface AddOptions extends ValueOptions {
  readonly provider?: OAuthAppRequest['provider'];
  readonly clientId: string;
  readonly scope?: readonly string[];
  readonly public?: true;
  readonly keepValue?: true;
  readonly authorizeUrl?: string;
  readonly tokenUrl?: string;
  readonly deviceUrl?: string;
  readonly revokeUrl?: string;
  readonly issuer?: string;
  readonly param?: Readonly<Record<string, string>>;
  readonly host?: readonly string[];
  readonly secret?: string;
  readonly inject?: string;
  readonly json?: true;
}

export function addAccounts(program: Command): void {
  const accounts = program
    .command('accounts')
    .description('Connect accounts at other services, so that tools can use them. No command shows a token.');
  examples(accounts, 'centaur accounts apps add google --client-id 123.apps.googleusercontent.com', 'centaur accounts connect google');
  const apps = accounts.command('apps').description('OAuth apps: as whom this installation is known at a provider.');
  examples(apps, 'centaur accounts apps ls');

  const add = apps
    .command('add')
    .summary('Make an OAuth app, or describe it anew.')
    .description(
      'Make an OAuth app, or describe it anew: all but the secret of its client is replaced by what is given. On a terminal the secret is asked for and not shown; it is never taken from an argument.',
    )
    .argument('<name>', 'such as google; it is the provider, too, when that is one of those below')
    .requiredOption('--client-id <id>', 'as the provider gave it')
    .addOption(new Option('--provider <provider>', 'whose addresses it has; custom knows none').choices(PROVIDERS))
    .option('--scope <scope>', 'what is asked for; give it again for more', collect)
    .option('--public', 'the client has no secret')
    .option('--keep-value', 'the secret is the one that it has')
    .option('--authorize-url <url>', 'where people sign in')
    .option('--token-url <url>', 'what gives tokens')
    .option('--device-url <url>', 'what gives codes for devices')
    .option('--revoke-url <url>', 'what takes tokens back')
    .option('--issuer <url>', 'who its answers say they are from')
    .option('--param <name=value>', 'more of the address where people sign in; give it again for more', param)
    .option('--host <host>', 'where its tokens may go; give it again for more', collect)
    .option('--secret <name>', 'the secret that it makes (default: the one that the tool of this provider declares)')
    .option('--inject <format>', `how the token stands in the authorization header of every request, such as 'Bearer {value}'`)
    .action(addApp);
  examples(
    withJson(withValue(add)),
    'centaur accounts apps add google --client-id 123.apps.googleusercontent.com --scope https://www.googleapis.com/auth/calendar.events',
    'pass crm/oauth | centaur accounts apps add crm --client-id abc --authorize-url https://crm.example.com/authorize --token-url https://crm.example.com/token --host api.crm.example.com --secret CRM_OAUTH --value-stdin',
  );

  const appsLs = apps.command('ls').description('List the OAuth apps.').action(listApps);
  examples(withJson(appsLs), 'centaur accounts apps ls');

  const appsRm = apps
    .command('rm')
    .description('Forget an OAuth app by which no account is connected.')
    .argument('<name>', 'name of the app')
    .action(async (name: string, options: { readonly json?: true }) => {
      const removed = await connect().removeOAuthApp(name);
      if (options.json) printJson(removed);
      else print(`removed ${name}`);
    });
  examples(withJson(appsRm), 'centaur accounts apps rm google');

  const begin = accounts
    .command('connect')
    .summary('Connect an account.')
    .description(
      'Connect an account: open the address that is printed, sign in and agree. The command waits until that is done. An account that was connected before for the same user is replaced.',
    )
    .argument('<app>', 'name of the OAuth app')
    .option('--user <user>', 'whose account it is, as messages name their user (default: everybody’s)')
    .option('--device', 'by a code that is typed in a browser anywhere')
    .action(connectAccount);
  examples(withJson(begin), 'centaur accounts connect google --user ana@example.com', 'centaur accounts connect github --device');

  const ls = accounts.command('ls').description('List the accounts that are connected.').action(list);
  examples(withJson(ls), 'centaur accounts ls');

  const revoke = accounts
    .command('revoke')
    .description(
      'Disconnect an account: its secret is destroyed, and the provider is told where it can be. An attempt to connect one is ended by its id.',
    )
    .argument('<app>', 'name of the OAuth app, or an id as "centaur accounts ls" shows it')
    .option('--user <user>', 'whose account it is (default: everybody’s)')
    .action(revokeAccount);
  examples(withJson(revoke), 'centaur accounts revoke google --user ana@example.com');
}

async function addApp(name: string, options: AddOptions, command: Command): Promise<void> {
  refuseValueArgument(name, options, command);
  const provider = options.provider ?? PROVIDERS.find((each) => each === name) ?? 'custom';
  const asks = options.public === undefined && options.keepValue === undefined;
  if (options.public && options.keepValue) throw new UsageError('give either --public or --keep-value');
  if (!asks && (options.valueStdin || options.valueFile !== undefined))
    throw new UsageError(`give either a value or ${options.public ? '--public' : '--keep-value'}`);
  const value = asks ? await readValue(`the client secret of ${name}`, options) : undefined;
  if (asks && (value === undefined || value === ''))
    throw new UsageError('no client secret: give --value-stdin or --value-file; --public if it has none; or --keep-value');
  const secret = options.public ? null : value;
  const app = await connect().putOAuthApp(name, {
    provider,
    client_id: options.clientId,
    ...(secret === undefined ? {} : { client_secret: secret }),
    ...(options.scope === undefined ? {} : { scopes: options.scope }),
    ...(options.authorizeUrl === undefined ? {} : { authorize_url: options.authorizeUrl }),
    ...(options.tokenUrl === undefined ? {} : { token_url: options.tokenUrl }),
    ...(options.deviceUrl === undefined ? {} : { device_url: options.deviceUrl }),
    ...(options.revokeUrl === undefined ? {} : { revoke_url: options.revokeUrl }),
    ...(options.issuer === undefined ? {} : { issuer: options.issuer }),
    ...(options.param === undefined ? {} : { authorize_params: options.param }),
    ...(options.host === undefined ? {} : { hosts: options.host }),
    ...(options.secret === undefined ? {} : { secret: options.secret }),
    ...(options.inject === undefined ? {} : { inject: options.inject }),
  });
  if (options.json) return printJson(app);
  print(`${name} makes ${app.secret}, which may go to ${app.hosts.join(', ')}`);
  if (app.redirect_uri !== null) print(`its redirect URI, to be registered at the provider: ${app.redirect_uri}`);
}

async function listApps(options: { readonly json?: true }): Promise<void> {
  const page = await connect().listOAuthApps();
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no OAuth apps');
  const rows = page.items.map((app) => [app.name, app.provider, app.client_id, app.secret, app.redirect_uri ?? '']);
  print(table(['APP', 'PROVIDER', 'CLIENT', 'SECRET', 'REDIRECT URI'], rows));
}

async function connectAccount(
  app: string,
  options: { readonly user?: string; readonly device?: true; readonly json?: true },
): Promise<void> {
  const api = connect();
  const started = await api.connectAccount({
    app,
    ...(options.user === undefined ? {} : { user: options.user }),
    ...(options.device ? { flow: 'device' } : {}),
  });
  // on stderr: stdout is for what came of it
  for (const line of whatToDo(started)) note(line);
  const ended = await wait(api, started);
  if (ended.status !== 'connected')
    throw new HintedError(
      `the account was not connected: ${REASONS[ended.reason ?? ''] ?? ended.reason ?? ended.status}`,
      `Begin again: centaur accounts connect ${app}`,
    );
  if (options.json) return printJson(ended);
  print(`connected: ${ended.secret}${ended.user === null ? '' : `, for ${printable(ended.user)} alone`}`);
  if (ended.token_ends_at !== null) note(`the provider gave no way to refresh its token, which ends ${relative(ended.token_ends_at)}`);
}

function whatToDo({ authorize_url: url, device }: StartedConnection): readonly string[] {
  if (device === null) return ['Open this address, sign in and agree:', '', `  ${printable(url ?? '')}`, ''];
  const { user_code: code, verification_uri: at, verification_uri_complete: complete } = device;
  return [
    `Open ${printable(at)} and type this code:`,
    '',
    `  ${paint('bold', printable(code), process.stderr)}`,
    '',
    ...(complete === null ? [] : [`Or open ${printable(complete)}`]),
  ];
}

async function wait(api: Api, started: ConnectionView): Promise<ConnectionView> {
  for (let now = started; ; now = await api.getConnection(started.connection_id)) {
    if (now.status !== 'pending') return now;
    await sleep(LOOK_MS);
  }
}

/** In words, where the code says too little. */
const REASONS: Readonly<Record<string, string>> = {
  DENIED: 'access was denied',
  EXPIRED: 'nobody agreed in time',
  CANCELLED: 'somebody ended it',
  OTHER_APP: 'the answer was for another app',
  OTHER_ISSUER: 'the answer was from another provider',
  APP_CHANGED: 'the app was changed meanwhile',
  NO_TOKEN: 'the provider gave no token',
  ADDRESS_DENIED: 'the provider has an address that may not be dialled: see egress.allow_cidrs',
  UNREACHABLE: 'the provider could not be reached',
  REDIRECTED: 'the provider sent the request elsewhere, and it was not followed',
  SECRET_TAKEN: 'there is a secret of that name that the app did not make',
  INVALID_CODE: 'the provider did not take the code',
  INVALID_CLIENT: 'the provider does not know the client, or its secret is another one',
  REFUSED_BY_PROVIDER: 'the provider takes its token no more',
  SECRET_REPLACED: 'its secret was removed, or set by hand',
  TOKEN_ENDED: 'its token has ended',
};

async function list(options: { readonly json?: true }): Promise<void> {
  const page = await connect().listConnections();
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no accounts');
  const rows = page.items.map((each) => [
    each.app,
    each.user ?? 'everybody',
    status(each.status),
    each.secret,
    relative(each.updated_at),
    each.connection_id,
    each.reason === null ? '' : (REASONS[each.reason] ?? each.reason),
  ]);
  print(table(['APP', 'USER', 'STATUS', 'SECRET', 'CHANGED', 'ID', 'WHY'], rows));
  const broken = page.items.find((each) => each.status === 'broken');
  if (broken !== undefined)
    note(`connect it again: centaur accounts connect ${broken.app}${broken.user === null ? '' : ` --user ${printable(broken.user)}`}`);
}

async function revokeAccount(app: string, options: { readonly user?: string; readonly json?: true }): Promise<void> {
  const api = connect();
  const { items } = await api.listConnections();
  const found = items.find(
    (each) => each.connection_id === app || (each.app === app && each.user === (options.user ?? null) && each.status !== 'pending'),
  );
  if (found === undefined) {
    process.exitCode = EXIT.notFound;
    return note(`no account of ${options.user ?? 'everybody'} is connected by ${app}: centaur accounts ls`);
  }
  const revoked = await api.revokeConnection(found.connection_id);
  if (options.json) return printJson(revoked);
  // what is connected under that name is still connected
  if (found.status === 'pending')
    return print(`ended an attempt to connect ${found.app}${found.user === null ? '' : ` for ${printable(found.user)}`}`);
  print(`disconnected ${found.secret}`);
  if (revoked.at_provider === 'failed') note('the provider did not confirm it: take the access back in the settings of the account, too');
  if (revoked.at_provider === 'none') note('the provider was not told: take the access back in the settings of the account, too');
}

function param(text: string, before: Readonly<Record<string, string>> = {}): Record<string, string> {
  const cut = text.indexOf('=');
  if (cut < 1) throw new InvalidArgumentError('expected name=value, such as prompt=consent.');
  return { ...before, [text.slice(0, cut)]: text.slice(cut + 1) };
}
