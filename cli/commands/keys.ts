/** API keys. */
import type { Command } from 'commander';
import { connect } from '../api.ts';
import { collect, examples, withJson } from '../arguments.ts';
import { note, paint, print, printJson, relative, table } from '../output.ts';

const SCOPES = `
Scopes:
  admin             everything, keys and queue limits included
  workflows:*       start, read, cancel, retry and fork runs of any workflow
  workflows:<name>  the same for one workflow
  workflows.read    read workflows, runs, schedules and queues
  events.emit       send events
  threads.read      read threads, their messages, turns, events and attachments
  threads.write     send to threads, and cancel, steer and release
  deliveries.claim  claim final answers, and settle them
  inbox.use         store what a chat service says, and take it out again
  secrets.read      see what secrets are for, and who may use them; no key ever reads a value
  secrets.write     make, change and remove secrets, and grant them
  leases.create     make and end leases for itself, as the principal key:<id>
  policy.read       read, check and explain policy
  policy.write      publish policy
  approvals.decide  see and decide approvals
  audit.read        read, verify and export the audit log
  webhooks:forward  hand on deliveries for the edge, and vouch for their sources
  metrics.read      read /metrics`;

export function addKeys(program: Command): void {
  const keys = program.command('keys').description('Make and revoke API keys. This needs an admin key.');
  examples(keys, 'centaur keys create "nightly cron" --scope workflows:nightly_report');

  const create = keys
    .command('create')
    .description('Make an API key and print it, this once.')
    .argument('<name>', 'what it is for')
    .requiredOption('--scope <scope>', 'what it may do; give it again for more', collect)
    .action(async (name: string, options: { readonly scope: readonly string[]; readonly json?: true }) => {
      const created = await connect().createKey({ name, scopes: options.scope });
      if (options.json) return printJson(created);
      note(`made ${created.key_id} (${created.scopes.join(', ')}); it is shown this once:`);
      print(created.key);
    })
    .addHelpText('after', SCOPES);
  examples(
    withJson(create),
    'centaur keys create "nightly cron" --scope workflows:nightly_report --scope events.emit',
    'CENTAUR_API_KEY=$(centaur keys create monitor --scope metrics.read)',
  );

  const ls = keys.command('ls').description('List the API keys; never a key itself.').action(list);
  examples(withJson(ls), 'centaur keys ls');

  const revoke = keys
    .command('revoke')
    .description('Revoke an API key; in effect everywhere within a second.')
    .argument('<id>', 'id of the key, such as ck_1a2b3c4d')
    .action(async (keyId: string, options: { readonly json?: true }) => {
      const revoked = await connect().revokeKey(keyId);
      if (options.json) printJson(revoked);
      else print(`revoked ${revoked.key_id} (${revoked.name})`);
    });
  examples(withJson(revoke), 'centaur keys revoke ck_1a2b3c4d');
}

async function list(options: { readonly json?: true }): Promise<void> {
  const page = await connect().listKeys();
  if (options.json) return printJson(page);
  const rows = page.items.map((key) => [
    key.key_id,
    key.name,
    key.scopes.join(', '),
    relative(key.created_at),
    relative(key.last_used_at),
    key.revoked_at === null ? paint('green', 'active') : paint('red', `revoked ${relative(key.revoked_at)}`),
  ]);
  print(table(['KEY', 'NAME', 'SCOPES', 'CREATED', 'USED', ''], rows));
}
