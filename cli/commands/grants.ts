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
    .description('Take a grant away. Leases that hold the secret by it alone end at once, and what a tool declares does not bring it back.')
    .argument('<grant>', 'id of the grant')
    .action(async (grantId: string, options: { readonly json?: true }) => {
      const removed = await connect().removeGrant(grantId);
      if (options.json) printJson(removed);
      else print(`removed ${removed.grant_id}`);
    });
  examples(withJson(rm), 'centaur grants rm 0198c0de-0000-7000-8000-000000000000');

  const refuse = grants
    .command('refuse')
    .description('Refuse a secret to a tool, also one that is not there: then it gets no user’s own in its place either.')
    .argument('<principal>', 'the tool, such as tool:crm')
    .argument('<secret>', 'name of the secret')
    .action(async (principal: string, secret: string, options: { readonly json?: true }) => {
      const refused = await connect().refuseGrant(principal, secret);
      if (options.json) printJson(refused);
      else print(`${refused.secret} is refused to ${refused.principal}`);
    });
  examples(withJson(refuse), 'centaur grants refuse tool:crm GOOGLE_OAUTH');

  const allow = grants
    .command('allow')
    .description('Take back a refusal. Nothing is granted by that but what the tool declares.')
    .argument('<principal>', 'the tool, such as tool:crm')
    .argument('<secret>', 'name of the secret')
    .action(async (principal: string, secret: string, options: { readonly json?: true }) => {
      const allowed = await connect().allowGrant(principal, secret);
      if (options.json) printJson(allowed);
      else print(`${allowed.secret} is no longer refused to ${allowed.principal}`);
    });
  examples(withJson(allow), 'centaur grants allow tool:crm GOOGLE_OAUTH');

  const refused = grants
    .command('refused')
    .description('List which secrets are refused to which tool, by "grants refuse" or "grants rm".')
    .option('--principal <principal>', 'only what is refused to this tool')
    .option('--secret <name>', 'only refusals of this secret')
    .action(async (options: { readonly principal?: string; readonly secret?: string; readonly json?: true }) => {
      const page = await connect().listRefusals({ principal: options.principal, secret: options.secret });
      if (options.json) return printJson(page);
      if (page.items.length === 0) return note('nothing is refused');
      const rows = page.items.map((each) => [each.principal, each.secret, relative(each.created_at)]);
      print(table(['PRINCIPAL', 'SECRET', 'SINCE'], rows));
    });
  examples(withJson(refused), 'centaur grants refused --secret GOOGLE_OAUTH');

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
