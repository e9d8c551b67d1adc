/** Leases: the right to use some secrets for some time. */
import { type Command, Option } from 'commander';
import { connect } from '../api.ts';
import { collect, examples, seconds, wholeNumber, withJson } from '../arguments.ts';
import { note, paint, print, printJson, relative, status, table } from '../output.ts';

interface CreateOptions {
  readonly secret: readonly string[];
  readonly principal?: string;
  readonly ttl?: number;
  readonly maxUses?: number;
  readonly kind?: string;
  readonly source?: string;
  readonly run?: string;
  readonly json?: true;
}

export function addLeases(program: Command): void {
  const leases = program.command('leases').description('Make leases on secrets by hand, look at them, and end them.');
  examples(leases, 'eval "$(centaur leases create --secret STRIPE_API_KEY)"', 'centaur leases ls --active');

  const create = leases
    .command('create')
    .summary('Make a lease, and print what a shell needs to use it.')
    .description(
      'Make a lease, and print its environment as lines for a shell: the proxy with its token, the certificate to trust, and a placeholder for each secret. "centaur exec" does the same for one program.',
    )
    .requiredOption('--secret <name>', 'a secret that it is for; give it again for more', collect)
    .option('--principal <principal>', 'who acts (default: the API key, as key:<id>); it needs a grant for each secret')
    .option('--ttl <duration>', 'how long it lasts, up to 7d (default 15m)', seconds)
    .option('--max-uses <number>', 'most requests', wholeNumber(1, 1_000_000))
    .addOption(new Option('--kind <kind>', 'call is for one request').choices(['run', 'call', 'step']))
    .option('--source <address>', 'the address, or the range, from which alone it works')
    .option('--run <run>', 'id of the run that it is for')
    .action(createLease);
  examples(
    withJson(create),
    'eval "$(centaur leases create --secret STRIPE_API_KEY --ttl 1h)"',
    'centaur leases create --secret STRIPE_API_KEY --principal workflow:billing --json | jq .env',
  );

  const ls = leases
    .command('ls')
    .description('List leases, newest first.')
    .option('--principal <principal>', 'only those of this principal')
    .option('--active', 'only those that still work')
    .option('--limit <number>', 'how many, 1 to 200', wholeNumber(1, 200), 20)
    .option('--after <cursor>', 'go on after this page’s "next"')
    .action(list);
  examples(withJson(ls), 'centaur leases ls --active');

  const revoke = leases
    .command('revoke')
    .description('End a lease, everywhere within a second. Open streams are cut.')
    .argument('<lease>', 'id of the lease')
    .option('--reason <text>', 'for the audit log')
    .action(async (leaseId: string, options: { readonly reason?: string; readonly json?: true }) => {
      const revoked = await connect().revokeLease(leaseId, options.reason);
      if (options.json) printJson(revoked);
      else print(`revoked ${revoked.lease_id}`);
    });
  examples(withJson(revoke), 'centaur leases revoke 0198c0de-0000-7000-8000-000000000000 --reason "seen in a log"');
}

async function createLease(options: CreateOptions): Promise<void> {
  const lease = await connect().createLease({
    secrets: options.secret,
    ...(options.principal === undefined ? {} : { principal: options.principal }),
    ...(options.ttl === undefined ? {} : { ttl_seconds: options.ttl }),
    ...(options.maxUses === undefined ? {} : { max_uses: options.maxUses }),
    ...(options.kind === undefined ? {} : { kind: options.kind }),
    ...(options.source === undefined ? {} : { source: options.source }),
    ...(options.run === undefined ? {} : { run_id: options.run }),
  });
  if (options.json) return printJson(lease);
  note(`lease ${lease.lease_id}, which ends ${relative(lease.expires_at)}; its token is shown this once`);
  if (lease.ca_file === null)
    note('the certificate is not on this machine: write ca_pem of --json to a file, and have your program trust it');
  print(
    Object.entries(lease.env)
      .map(([name, value]) => `export ${name}=${quoted(value)}`)
      .join('\n'),
  );
}

/** For any POSIX shell. */
function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

async function list(options: {
  readonly principal?: string;
  readonly active?: true;
  readonly limit: number;
  readonly after?: string;
  readonly json?: true;
}): Promise<void> {
  const { principal, active, limit, after } = options;
  const page = await connect().listLeases({ principal, active: active === undefined ? undefined : 'true', limit, after });
  if (options.json) return printJson(page);
  if (page.items.length === 0) return note('no leases');
  const rows = page.items.map((lease) => [
    lease.lease_id,
    lease.principal,
    status(lease.status),
    lease.secrets.join(', '),
    lease.max_uses === null ? String(lease.used) : `${lease.used} of ${lease.max_uses}`,
    relative(lease.created_at),
    relative(lease.revoked_at ?? lease.expires_at),
  ]);
  print(table(['LEASE', 'PRINCIPAL', 'STATUS', 'SECRETS', 'USED', 'CREATED', 'ENDS'], rows));
  if (page.next !== null) note(paint('dim', `more: --after ${page.next}`, process.stderr));
}
