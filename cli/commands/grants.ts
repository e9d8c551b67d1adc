/** Who may use which secret. */
import type { Command } from 'commander';
import { connect } from '../api.ts';
import { examples, withJson } from '../arguments.ts';
import { note, print, printJson, relative, table } from '../output.ts';

const PRINCIPALS = `
Principals:
  workflow:<name>  thread:<key>  channel:<id>  user:<id>  tool:<name>  key:<id of an API key>
  role:<name>      whoever has the role, see "centaur grants roles"
  workflow:*       all of a kind`;

export function addGrants(program: Command): void {
  const grants = program.command('grants').description('Say who may use which secret.');
  examples(grants, 'centaur grants add workflow:billing STRIPE_API_KEY');

  const add = grants
    .command('add')
    .description('Let a principal use a secret. Granting twice changes nothing.')
    .argument('<principal>', 'who, such as workflow:billing')
    .argument('<secret>', 'name of the secret')
    .action(async (principal: string, secret: string, options: { readonly json?: true }) => {
      const grant = await connect().addGrant(principal, secret);
      if (options.json) printJson(grant);
      else print(`${grant.principal} may use ${grant.secret}`);
    })
    .addHelpText('after', PRINCIPALS);
  examples(withJson(add), 'centaur grants add workflow:billing STRIPE_API_KEY', 'centaur grants add role:support ZENDESK_TOKEN');

  const ls = grants
    .command('ls')
    .description('List who may use which secret.')
    .option('--principal <principal>', 'only what this principal is granted by itself')
    .option('--secret <name>', 'only grants of this secret')
    .action(async (options: { readonly principal?: string; readonly secret?: string; readonly json?: true }) => {
      const page = await connect().listGrants({ principal: options.principal, secret: options.secret });
      if (options.json) return printJson(page);
      if (page.items.length === 0) return note('no grants');
      const rows = page.items.map((grant) => [grant.grant_id, grant.principal, grant.secret, relative(grant.created_at)]);
      print(table(['GRANT', 'PRINCIPAL', 'SECRET', 'CREATED'], rows));
    });
  examples(withJson(ls), 'centaur grants ls --secret STRIPE_API_KEY');

  const rm = grants
    .command('rm')
    .description('Take a grant away. Leases that hold the secret by it alone end at once.')
    .argument('<grant>', 'id of the grant')
    .action(async (grantId: string, options: { readonly json?: true }) => {
      const removed = await connect().removeGrant(grantId);
      if (options.json) printJson(removed);
      else print(`removed ${removed.grant_id}`);
    });
  examples(withJson(rm), 'centaur grants rm 0198c0de-0000-7000-8000-000000000000');

  const roles = grants
    .command('roles')
    .description('Say which roles a principal has: all of them; none takes all away.')
    .argument('<principal>', 'who, such as workflow:billing')
    .argument('[role...]', 'names of roles')
    .action(async (principal: string, names: readonly string[], options: { readonly json?: true }) => {
      const set = await connect().setRoles(principal, names);
      if (options.json) printJson(set);
      else print(set.roles.length === 0 ? `${set.principal} has no roles` : `${set.principal} is ${set.roles.join(', ')}`);
    });
  examples(withJson(roles), 'centaur grants roles user:ann support billing');
}
