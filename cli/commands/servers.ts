/** The commands that serve. */
import { readFileSync } from 'node:fs';
import type { Command } from 'commander';
import { examples } from '../arguments.ts';
import { EXIT, UsageError } from '../exit.ts';
import type { Config } from '@centaur/kernel/config';
import type { Scrubber } from '@centaur/kernel/firewall/scrub';
import { createLog, type Log } from '../log.ts';
import { print } from '../output.ts';
import type { Role } from '../serve/server.ts';

const ENVIRONMENT = `
Environment:
  DATABASE_URL               Postgres 15 or newer; without it "up" brings one, in CENTAUR_HOME
  CENTAUR_HOME               default ~/.centaur
  HOST, PORT                 where the API answers (default 127.0.0.1, 8080)
  CENTAUR_MASTER_KEY, _FILE  32 bytes that seal the secrets; "up" makes them in CENTAUR_HOME/master.key
  CENTAUR_CONFIG             what the firewall opens (default ./centaur.yaml)
  FIREWALL_HOST, _PORT, _URL where the firewall listens, and where clients find it (default 127.0.0.1, 8081)
  CENTAUR_AUDIT_RETENTION_DAYS  how long the audit log is kept (default for ever)
  CENTAUR_AUDIT_ANCHOR       a file to which checkpoints of the audit log are appended
  CENTAUR_PUBLIC_URL         where browsers reach the API, to sign in and to connect accounts (default CENTAUR_API_URL)
  CENTAUR_OIDC_CLIENT_SECRET  of the client of sign_in in centaur.yaml, at the provider by which people sign in
  SLACK_SIGNING_SECRET       of the Slack app: votes that people cast in Slack count by it
  CENTAUR_API_KEY            at the first start it becomes the admin key; else one is made and shown once
  WORKFLOW_DIRS              directories of workflow files, colon-separated (default ./workflows)
  CENTAUR_OVERLAYS           overlays, comma-separated: folders, or Git repositories with #ref (default those of centaur.yaml)
  CENTAUR_QUEUES             queues this process works on, comma-separated (default all)
  CENTAUR_MAX_RESIDENT_RUNS  most runs in memory (default 2000)
  CENTAUR_LEASE_SECONDS      how long a silent worker keeps its runs (default 10)
  CENTAUR_RETENTION_DAYS     how long finished runs are kept (default 30)
  CENTAUR_LOG                json or text (default text on a terminal, else json)
  CENTAUR_LOG_LEVEL          debug, info, warn or error (default info)

SIGTERM or Ctrl-C lets steps in progress end for up to 10 s; a second one ends the process at once.
Logs go to stderr; known values of secrets are blanked in them.`;

export function addServers(program: Command): void {
  const add = (role: Role, description: string, ...lines: readonly string[]) =>
    examples(
      program
        .command(role)
        .description(description)
        .action(() => start(role))
        .addHelpText('after', ENVIRONMENT),
      ...lines,
    );
  add(
    'up',
    'Run everything on this machine: API, worker, and Postgres unless DATABASE_URL names one.',
    'centaur up',
    'PORT=9090 WORKFLOW_DIRS=./flows centaur up',
  );
  add(
    'api',
    'Answer requests only; runs are executed by workers on the same database.',
    'DATABASE_URL=postgres://centaur@db/centaur HOST=0.0.0.0 centaur api',
  );
  add(
    'worker',
    'Execute runs only.',
    'DATABASE_URL=postgres://centaur@db/centaur centaur worker',
    'CENTAUR_QUEUES=mail,default centaur worker',
  );
}

/** The firewall keeps what it loads small: no engine, no workflows, no API. */
export function addFirewall(program: Command): void {
  const firewall = program.command('firewall');
  examples(
    firewall
      .command('import')
      .description('Turn a configuration of iron-proxy into a centaur.yaml, and say what means something else here.')
      .argument('<file>', 'a proxy.yaml')
      .action(async (file: string) => {
        const { importIronProxy, renderImport } = await import('@centaur/kernel/config');
        print(renderImport(importIronProxy(readText(file), file)).trimEnd());
      }),
    'centaur firewall import proxy.yaml > centaur.yaml',
  );
  examples(
    firewall
      .description('Run the credential firewall: the only way out for whoever has a lease.')
      .action(startFirewall)
      .addHelpText('after', FIREWALL_ENVIRONMENT),
    'DATABASE_URL=postgres://centaur@db/centaur CENTAUR_MASTER_KEY_FILE=/run/secrets/master FIREWALL_HOST=0.0.0.0 centaur firewall',
  );
}

function readText(file: string): string {
  try {
    return readFileSync(file, 'utf8');
  } catch (error) {
    throw new UsageError(`${file} cannot be read: ${(error as Error).message}`, { cause: error });
  }
}

const FIREWALL_ENVIRONMENT = `
Environment:
  DATABASE_URL                  Postgres 15 or newer, the same as of the API
  CENTAUR_MASTER_KEY, _FILE     what opens the secrets, the same as of the API
  FIREWALL_HOST, FIREWALL_PORT  where it listens (default 127.0.0.1, 8081)
  FIREWALL_POSTGRES_PORT        where it speaks the protocol of Postgres (default the next one, 8082)
  FIREWALL_METRICS_PORT         where 127.0.0.1 may read /metrics (default none)
  OTEL_EXPORTER_OTLP_ENDPOINT   a receiver of OpenTelemetry for metrics (default none)
Sources of secrets read their own variables here: VAULT_ADDR, OP_CONNECT_HOST, AWS_ACCESS_KEY_ID and so on.`;

/** Every line passes the scrubber. */
function openLog({ logLevel: level, logFormat }: Config, component: string, { scrub }: Scrubber): Log {
  return createLog({ level, component, scrub, ...(logFormat === undefined ? {} : { pretty: logFormat === 'text' }) });
}

/** What a start that failed says goes to the terminal without a log. */
function scrubbed(error: unknown, { scrub }: Scrubber): unknown {
  if (!(error instanceof Error)) return error;
  error.message = scrub(error.message);
  if (error.stack !== undefined) error.stack = scrub(error.stack);
  return error;
}

async function startFirewall(): Promise<void> {
  const [{ loadConfig }, { serveFirewall }, { createScrubber, secretsOfEnvironment }] = await Promise.all([
    import('@centaur/kernel/config'),
    import('../serve/firewall.ts'),
    import('@centaur/kernel/firewall/scrub'),
  ]);
  const config = loadConfig(process.env);
  const scrubber = createScrubber(secretsOfEnvironment(process.env));
  try {
    await serveFirewall(config, openLog(config, 'firewall', scrubber), ({ url, caFile, ms }) =>
      process.stdout.write(`Centaur firewall is up (${(ms / 1000).toFixed(1)} s)\n  Proxy  ${url}\n  CA     ${caFile}\n`),
    );
  } catch (thrown) {
    const error = scrubbed(thrown, scrubber);
    // whoever started it says so, once
    if (process.send === undefined) throw error;
    const { message, hint } = error as { message: string; hint?: string };
    await new Promise((resolve) => process.send?.({ failed: { message, hint } }, resolve));
    process.exit(EXIT.failed);
  }
  process.exit(EXIT.ok);
}

async function start(role: Role): Promise<void> {
  // Only here: the other commands need neither a server nor a database, and start several times faster without
  const [{ loadConfig }, { createScrubber, secretsOfEnvironment }, { serve }, { banner }] = await Promise.all([
    import('@centaur/kernel/config'),
    import('@centaur/kernel/firewall/scrub'),
    import('../serve/server.ts'),
    import('../serve/banner.ts'),
  ]);
  const config = loadConfig(process.env);
  const scrubber = createScrubber(secretsOfEnvironment(process.env));
  const log = openLog(config, role, scrubber);
  await serve(role, config, log, scrubber, (started) => process.stdout.write(banner(started))).catch((error: unknown) =>
    Promise.reject(scrubbed(error, scrubber)),
  );
  // A timer or a socket that a workflow left open must not keep the process
  process.exit(EXIT.ok);
}
