/** Webhooks: which are served, what they brought, and trying them out. */
import { type Command, Option } from 'commander';
import type { WebhookView } from '@centaur/kernel/webhooks';
import type { SampleOptions, SampleProvider } from '@centaur/kernel/webhooks/sign';
import { type Api, baseOf, connect, unreachable } from '../api.ts';
import { examples, readTextFile, wholeNumber, withJson } from '../arguments.ts';
import { EXIT, UsageError } from '../exit.ts';
import { note, paint, print, printable, printJson, relative, table } from '../output.ts';
import { readHidden } from '../secret-value.ts';
import { problemText } from './workflows.ts';

const EXAMPLE = '0198c0de-0000-7000-8000-000000000000';
const PROVIDERS = ['github', 'stripe', 'slack', 'standard_webhooks', 'hmac', 'bearer', 'none'] as const;
type Provider = SampleProvider | 'none';

export function addWebhooks(program: Command): void {
  const webhooks = program.command('webhooks').description('See what providers send here, send it again, or try a webhook out.');
  examples(webhooks, 'centaur webhooks ls', 'centaur webhooks deliveries --slug github-issue-triage');

  const ls = webhooks.command('ls').description('List the webhooks that are served, and the declarations that were refused.').action(list);
  examples(withJson(ls), 'centaur webhooks ls');

  const deliveries = webhooks
    .command('deliveries')
    .description('List deliveries whose signature held, newest first.')
    .option('--slug <slug>', 'only those of this webhook')
    .option('--limit <number>', 'how many, 1 to 200', wholeNumber(1, 200), 20)
    .option('--after <cursor>', 'go on after this page’s "next"')
    .action(listDeliveries);
  examples(withJson(deliveries), 'centaur webhooks deliveries', 'centaur webhooks deliveries --slug github-issue-triage --limit 50');

  const again = webhooks
    .command('redeliver')
    .description('Start a fresh run with what a delivery brought.')
    .argument('<delivery>', 'id of the delivery')
    .action(async (deliveryId: string, options: { readonly json?: true }) => {
      const redelivered = await connect().redeliverWebhook(deliveryId);
      if (options.json) printJson(redelivered);
      else print(redelivered.run_id);
    });
  examples(withJson(again), `centaur webhooks redeliver ${EXAMPLE}`);

  const send = webhooks
    .command('send')
    .summary('Send a sample, signed as its provider would sign it.')
    .description(
      'Send a sample, signed as its provider would sign it. The secret is read from the variable that the webhook names, from --secret-env or from --secret-file; on a terminal it is asked for. It is never taken from an argument.',
    )
    .argument('<slug>', 'of the webhook')
    .addOption(new Option('--provider <provider>', 'whose form it has (default: what the webhook verifies)').choices(PROVIDERS))
    .option('--secret-env <name>', 'the variable here that has the secret')
    .option('--secret-file <file>', 'the file that has the secret')
    .option('--event <name>', 'such as pull_request or invoice.paid')
    .option('--data <file>', 'send this body instead of a sample; - for stdin')
    .option('--url <url>', 'where to, such as https://centaur.example.com/api/webhooks/my-hook (default: the API)')
    .action(sendSample);
  examples(
    withJson(send),
    'GITHUB_WEBHOOK_SECRET=… centaur webhooks send github-issue-triage',
    'centaur webhooks send billing --provider stripe --secret-file secret.txt --event invoice.paid',
  );
}

async function list(options: { readonly json?: true }): Promise<void> {
  const page = await connect().listWebhooks();
  if (options.json) return printJson(page);
  if (page.items.length === 0) note('no webhooks; a workflow file declares them in WEBHOOKS');
  else {
    const rows = page.items.map((each) => [
      each.slug,
      each.workflow_name,
      each.provider === null ? '-' : printable(each.provider),
      each.auth,
      each.methods.join(', '),
      !each.enabled ? 'off' : each.secret_problem === null ? paint('green', 'served') : paint('red', 'no secret'),
    ]);
    print(table(['WEBHOOK', 'WORKFLOW', 'PROVIDER', 'AUTH', 'METHODS', 'STATE'], rows));
  }
  for (const { slug, secret_problem: problem } of page.items)
    if (problem !== null) note(`${paint('red', 'error', process.stderr)} ${slug}: ${printable(problem)}`);
  for (const problem of page.problems) note(problemText(problem));
}

async function listDeliveries(options: {
  readonly slug?: string;
  readonly limit: number;
  readonly after?: string;
  readonly json?: true;
}): Promise<void> {
  const { json, ...filter } = options;
  const page = await connect().listWebhookDeliveries(filter);
  if (json) return printJson(page);
  if (page.items.length === 0) return note('no deliveries');
  const rows = page.items.map((each) => [
    each.delivery_id,
    relative(each.received_at),
    each.slug,
    each.event === null ? '-' : printable(each.event),
    each.source_ip ?? '-',
    String(each.body_bytes),
    each.run_id,
    each.redelivery_of !== null ? 'sent again' : each.created ? 'new' : paint('dim', 'known'),
  ]);
  print(table(['DELIVERY', 'RECEIVED', 'WEBHOOK', 'EVENT', 'FROM', 'BYTES', 'RUN', ''], rows));
  if (page.next !== null) note(paint('dim', `more: --after ${page.next}`, process.stderr));
}

interface SendOptions {
  readonly provider?: Provider;
  readonly secretEnv?: string;
  readonly secretFile?: string;
  readonly event?: string;
  readonly data?: string;
  readonly url?: string;
  readonly json?: true;
}

async function sendSample(slug: string, options: SendOptions): Promise<void> {
  const api = connect();
  const known = options.provider === undefined || secretIsAsked(options) ? await findWebhook(api, slug, options) : undefined;
  const provider = options.provider ?? providerOf(known?.auth, slug);
  const { sampleBody, signSample } = await import('@centaur/kernel/webhooks/sign');
  const form = provider === known?.auth ? formOf(known.auth_form) : {};
  const how = { nowSeconds: Date.now() / 1000, ...(options.event === undefined ? {} : { event: options.event }), ...form };
  const body = options.data === undefined ? sampleBody(provider === 'none' ? 'hmac' : provider, how) : await readTextFile(options.data);
  const headers =
    provider === 'none'
      ? { 'content-type': 'application/json' }
      : await signSample(provider, await readSecret(known?.secret_ref ?? null, options), body, how);
  const url = options.url ?? `${baseOf(api.url)}/webhooks/${encodeURIComponent(slug)}`;
  const response = await fetch(url, { method: 'POST', headers, body, redirect: 'manual' }).catch((error: unknown) => {
    throw unreachable(url, error);
  });
  const answer = readAnswer(await response.text());
  if (!response.ok) process.exitCode = EXIT.failed;
  if (options.json) return printJson({ status: response.status, ...answer });
  if (!response.ok) {
    const why = [answer['code'], answer['message']].filter((each) => typeof each === 'string').join(': ');
    return note(`${paint('red', String(response.status), process.stderr)} ${printable(why)}`);
  }
  const run = answer['run_id'];
  if (typeof run === 'string') print(run);
  note(
    `${response.status} ${response.status === 202 ? 'a new run' : typeof run === 'string' ? 'a run that was known' : 'nothing was started'}`,
  );
}

/** Undefined where it is sent elsewhere, or this API cannot be asked. */
async function findWebhook(api: Api, slug: string, { url, provider }: SendOptions) {
  if (url !== undefined && provider !== undefined) return undefined;
  const { items } = await api.listWebhooks();
  const found = items.find((each) => each.slug === slug);
  if (found === undefined && provider === undefined)
    throw new UsageError(`no webhook ${JSON.stringify(slug)} is served; "centaur webhooks ls" lists them, or say --provider`);
  return found;
}

function providerOf(auth: string | undefined, slug: string): Provider {
  const provider = PROVIDERS.find((each) => each === auth);
  if (provider === undefined) throw new UsageError(`--provider: ${slug} verifies by ${auth}; say one of ${PROVIDERS.join(', ')}`);
  return provider;
}

/** Where the webhook wants its proof, for those who sign. */
function formOf(form: WebhookView['auth_form']): Pick<SampleOptions, 'hmac' | 'bearer'> {
  if (form === null) return {};
  return 'scheme' in form ? { bearer: form } : { hmac: form };
}

function secretIsAsked({ provider, secretEnv, secretFile }: SendOptions): boolean {
  return provider !== 'none' && secretEnv === undefined && secretFile === undefined;
}

async function readSecret(ref: string | null, { secretEnv, secretFile }: SendOptions): Promise<string> {
  if (secretEnv !== undefined && secretFile !== undefined) throw new UsageError('give either --secret-env or --secret-file');
  if (secretFile !== undefined) return (await readTextFile(secretFile)).replace(/\r?\n$/, '');
  const name = secretEnv ?? ref;
  const value = name === null ? undefined : process.env[name];
  if (value !== undefined && value !== '') return value;
  if (secretEnv !== undefined) throw new UsageError(`--secret-env: the variable ${secretEnv} is not set`);
  if (process.stdin.isTTY) {
    const typed = await readHidden('The webhook’s secret (it is not shown): ', process.stdin, process.stderr);
    if (typed !== undefined && typed !== '') return typed;
  }
  throw new UsageError(`no secret to sign with: set ${name ?? 'a variable'} and name it with --secret-env, or give --secret-file`);
}

function readAnswer(text: string): Readonly<Record<string, unknown>> {
  try {
    const answer: unknown = JSON.parse(text);
    if (typeof answer === 'object' && answer !== null) return answer as Record<string, unknown>;
  } catch {
    // not ours: a proxy on the way, say
  }
  return { code: 'NOT_JSON', message: text.slice(0, 200) };
}
