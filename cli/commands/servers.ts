/** The commands that serve. */
import type { Command } from 'commander';
import { examples } from '../arguments.ts';
import { EXIT } from '../exit.ts';
import { createLog } from '../log.ts';
import type { Role } from '../serve/server.ts';

const ENVIRONMENT = `
Environment:
  DATABASE_URL               Postgres 15 or newer; without it "up" brings one, in CENTAUR_HOME
  CENTAUR_HOME               default ~/.centaur
  HOST, PORT                 where the API answers (default 127.0.0.1, 8080)
  CENTAUR_API_KEY            at the first start it becomes the admin key; else one is made and shown once
  WORKFLOW_DIRS              directories of workflow files, colon-separated (default ./workflows)
  CENTAUR_QUEUES             queues this process works on, comma-separated (default all)
  CENTAUR_MAX_RESIDENT_RUNS  most runs in memory (default 2000)
  CENTAUR_LEASE_SECONDS      how long a silent worker keeps its runs (default 10)
  CENTAUR_RETENTION_DAYS     how long finished runs are kept (default 30)
  CENTAUR_LOG_LEVEL          debug, info, warn or error (default info)

SIGTERM or Ctrl-C lets steps in progress end for up to 10 s; a second one ends the process at once.
Logs go to stderr: lines of JSON, or short ones on a terminal.`;

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

async function start(role: Role): Promise<void> {
  // Only here: the other commands need neither a server nor a database, and start several times faster without
  const [{ loadConfig }, { serve }, { banner }] = await Promise.all([
    import('@centaur/kernel/config'),
    import('../serve/server.ts'),
    import('../serve/banner.ts'),
  ]);
  const config = loadConfig(process.env);
  await serve(role, config, createLog({ level: config.logLevel }), (started) => process.stdout.write(banner(started)));
  // A timer or a socket that a workflow left open must not keep the process
  process.exit(EXIT.ok);
}
