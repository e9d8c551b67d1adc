/** All commands. */
import { Command } from 'commander';
import { addAccounts } from './commands/accounts.ts';
import { addApprovals } from './commands/approvals.ts';
import { addAudit } from './commands/audit.ts';
import { addBackup } from './commands/backup.ts';
import { addData } from './commands/data.ts';
import { addEvents } from './commands/events.ts';
import { addExec } from './commands/exec.ts';
import { addGitHub } from './commands/github.ts';
import { addGrants } from './commands/grants.ts';
import { addKeys } from './commands/keys.ts';
import { addLeases } from './commands/leases.ts';
import { addLogin } from './commands/login.ts';
import { addOverlays } from './commands/overlays.ts';
import { addNew } from './commands/new.ts';
import { addPolicy } from './commands/policy.ts';
import { addQueues } from './commands/queues.ts';
import { addReplay } from './commands/replay.ts';
import { addRun } from './commands/run.ts';
import { addRuns } from './commands/runs.ts';
import { addSecrets } from './commands/secrets.ts';
import { addFirewall, addServers } from './commands/servers.ts';
import { addSlack } from './commands/slack.ts';
import { addSchedules } from './commands/schedules.ts';
import { addThreads } from './commands/threads.ts';
import { addUsers } from './commands/users.ts';
import { addTools } from './commands/tools.ts';
import { addUsage } from './commands/usage.ts';
import { addTrace } from './commands/trace.ts';
import { addWebhooks } from './commands/webhooks.ts';
import { addWorkflows } from './commands/workflows.ts';
import { addDeliveries } from './commands/deliveries.ts';
import { addInbox } from './commands/inbox.ts';
import { addDoctor } from './commands/doctor.ts';
import { EXIT_CODES } from './exit.ts';
import { VERSION } from './version.ts';

const ENVIRONMENT = `Environment:
  CENTAUR_API_URL   where the API answers (default http://127.0.0.1:8080)
  CENTAUR_API_KEY   the key; else the session of "centaur login", else the key in $CENTAUR_HOME/admin.key
  CENTAUR_HOME      default ~/.centaur
  NO_COLOR          set it to anything for no colours
The servers read more: see centaur up --help.`;

/** The same everywhere, so that the reference does not depend on who made it. */
const HELP_WIDTH = 110;

export function createProgram(): Command {
  const program = new Command('centaur')
    .description('Durable workflows and a credential firewall on your own Postgres.')
    .version(VERSION, '--version')
    .exitOverride()
    // So that what follows "exec --" is the program's own
    .enablePositionalOptions()
    .configureOutput({ getOutHelpWidth: () => HELP_WIDTH, getErrHelpWidth: () => HELP_WIDTH })
    .showSuggestionAfterError()
    .showHelpAfterError('(--help shows how)')
    .addHelpText(
      'after',
      `\nExamples:\n  $ centaur up\n  $ centaur run nightly_report '{"topic": "incidents"}' --wait\n\n${ENVIRONMENT}\n\n${EXIT_CODES}`,
    );
  const all = [
    addServers,
    addFirewall,
    addSlack,
    addDoctor,
    addRun,
    addRuns,
    addReplay,
    addEvents,
    addThreads,
    addDeliveries,
    addInbox,
    addGitHub,
    addWorkflows,
    addTools,
    addOverlays,
    addNew,
    addWebhooks,
    addSchedules,
    addQueues,
    addSecrets,
    addAccounts,
    addGrants,
    addLeases,
    addExec,
    addPolicy,
    addApprovals,
    addAudit,
    addData,
    addBackup,
    addUsage,
    addTrace,
    addKeys,
    addLogin,
    addUsers,
  ];
  for (const add of all) add(program);
  return program;
}
