/** Secrets, and who may use them. A value goes in and never comes out. */
import { isUuid } from '../../store/index.ts';
import {
  addGrant,
  allowGrant,
  askRotation,
  getSecret,
  listGrants,
  listRefusals,
  listSecrets,
  putSecret,
  refuseGrant,
  removeGrant,
  removeSecret,
  rewrapAll,
  rotateSecret,
  runOfRotation,
  VaultError,
} from '../../vault/index.ts';
import { giveRoles } from '../principal-roles.ts';
import { actorOf, ok, route } from '../route.ts';
import { page } from '../schemas.ts';
import { installationOf } from '../services.ts';
import {
  GrantBody,
  GrantPath,
  GrantQuery,
  AllowedSchema,
  GrantSchema,
  PrincipalPath,
  PutSecretBody,
  RefusalPath,
  RefusalSchema,
  RemovedGrantSchema,
  RemovedSecretSchema,
  RewrapSchema,
  RolesBody,
  RolesSchema,
  RotateSecretBody,
  SecretPath,
  SecretSchema,
} from '../trust-schemas.ts';

export const secretRoutes = [
  route({
    id: 'listSecrets',
    method: 'GET',
    path: '/secrets',
    group: 'Secrets',
    summary: 'List the secrets; never a value',
    access: { scope: 'secrets.read' },
    responses: { 200: { description: 'All of them', schema: page(SecretSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async (_call, services) => ok({ items: await listSecrets(installationOf(services).store), next: null }),
  }),
  route({
    id: 'getSecret',
    method: 'GET',
    path: '/secrets/{name}',
    group: 'Secrets',
    summary: 'Read what a secret is for; never its value',
    access: { scope: 'secrets.read' },
    params: SecretPath,
    responses: { 200: { description: 'The secret', schema: SecretSchema } },
    errors: ['SECRET_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    handle: async ({ params }, services) => ok(await getSecret(installationOf(services).store, params.name)),
  }),
  route({
    id: 'putSecret',
    method: 'PUT',
    path: '/secrets/{name}',
    group: 'Secrets',
    summary: 'Make a secret, or describe it anew',
    description:
      'Firewalls know it within a second. All but the value is replaced by what is given; a value becomes the next version. ' +
      'Without a value, a secret that is sealed here keeps its own. Nobody may use it before there is a grant.',
    access: { scope: 'secrets.write' },
    params: SecretPath,
    body: PutSecretBody,
    example: { value: 'sk_live_51Hxxxxxxxxxxxxxxxx', hosts: ['api.stripe.com'], match_headers: ['authorization'] },
    responses: { 200: { description: 'The secret, without its value', schema: SecretSchema } },
    errors: ['INVALID_SECRET', 'VAULT_UNAVAILABLE'],
    handle: async ({ params, body, caller }, services) => ok(await putSecret(installationOf(services), actorOf(caller), params.name, body)),
  }),
  route({
    id: 'rotateSecret',
    method: 'POST',
    path: '/secrets/{name}/rotate',
    group: 'Secrets',
    summary: 'Give a secret a new value; leases and placeholders stay',
    description:
      'Without a value, a run of the built-in workflow makes one as the secret’s rotation declares; `last_rotation` tells of it. ' +
      'One that is under way already is answered with.',
    access: { scope: 'secrets.write' },
    params: SecretPath,
    body: RotateSecretBody,
    example: { value: 'sk_live_52Hxxxxxxxxxxxxxxxx', grace_seconds: 600 },
    responses: { 200: { description: 'The secret, without its value', schema: SecretSchema } },
    errors: ['SECRET_NOT_FOUND', 'INVALID_SECRET', 'VAULT_UNAVAILABLE', 'DRAINING'],
    async handle({ params: { name }, body: { value, grace_seconds }, caller }, services) {
      const installation = installationOf(services);
      const actor = actorOf(caller);
      if (value !== undefined) return ok(await rotateSecret(installation, actor, name, value, grace_seconds));
      if (grace_seconds !== undefined)
        throw new VaultError('INVALID_SECRET', 'grace_seconds: goes with a value; else as its rotation declares');
      // should this process die in between, whoever looks after rotations starts the run
      await services.engine.start(runOfRotation(await askRotation(installation, name, actor)), undefined, actor);
      return ok(await getSecret(installation.store, name));
    },
  }),
  route({
    id: 'removeSecret',
    method: 'DELETE',
    path: '/secrets/{name}',
    group: 'Secrets',
    summary: 'Destroy a secret with its values and grants, and end every lease that holds it',
    access: { scope: 'secrets.write' },
    params: SecretPath,
    responses: { 200: { description: 'It is gone', schema: RemovedSecretSchema } },
    errors: ['SECRET_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    async handle({ params, caller }, services) {
      await removeSecret(installationOf(services), actorOf(caller), params.name);
      return ok({ name: params.name, removed: true });
    },
  }),
  route({
    id: 'rewrapKeys',
    method: 'POST',
    path: '/master-key/rewrap',
    group: 'Secrets',
    summary: 'Wrap under the present master key whatever an earlier one wrapped',
    description:
      'The API and the firewalls need both keys meanwhile: the new one first, the earlier one behind it. It may be broken off and asked for again. When nothing is left, the earlier key is needed no more.',
    access: { scope: 'admin' },
    responses: { 200: { description: 'What was moved, and what is left', schema: RewrapSchema } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async ({ caller }, services) => ok(await rewrapAll(installationOf(services), actorOf(caller))),
  }),
  route({
    id: 'listGrants',
    method: 'GET',
    path: '/grants',
    group: 'Secrets',
    summary: 'List who may use which secret',
    access: { scope: 'secrets.read' },
    query: GrantQuery,
    responses: { 200: { description: 'All of them', schema: page(GrantSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async ({ query }, services) => ok({ items: await listGrants(installationOf(services).store, query), next: null }),
  }),
  route({
    id: 'addGrant',
    method: 'POST',
    path: '/grants',
    group: 'Secrets',
    summary: 'Let a principal use a secret; granting twice changes nothing',
    access: { scope: 'secrets.write' },
    body: GrantBody,
    example: { principal: 'workflow:nightly_report', secret: 'STRIPE_API_KEY' },
    responses: { 200: { description: 'The grant', schema: GrantSchema } },
    errors: ['SECRET_NOT_FOUND', 'INVALID_SECRET', 'VAULT_UNAVAILABLE'],
    handle: async ({ body, caller }, services) =>
      ok(await addGrant(installationOf(services), actorOf(caller), body.principal, body.secret)),
  }),
  route({
    id: 'removeGrant',
    method: 'DELETE',
    path: '/grants/{grant_id}',
    group: 'Secrets',
    summary: 'Take a grant away; leases that hold the secret by it alone end',
    access: { scope: 'secrets.write' },
    params: GrantPath,
    responses: { 200: { description: 'It is gone', schema: RemovedGrantSchema } },
    errors: ['GRANT_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    async handle({ params: { grant_id }, caller }, services) {
      const installation = installationOf(services);
      if (!isUuid(grant_id)) throw new VaultError('GRANT_NOT_FOUND', `there is no grant ${JSON.stringify(grant_id)}`);
      await removeGrant(installation, actorOf(caller), grant_id);
      return ok({ grant_id, removed: true });
    },
  }),
  route({
    id: 'listRefusals',
    method: 'GET',
    path: '/refusals',
    group: 'Secrets',
    summary: 'List which secrets are refused to which tool, whatever it declares',
    access: { scope: 'secrets.read' },
    query: GrantQuery,
    responses: { 200: { description: 'All of them', schema: page(RefusalSchema) } },
    errors: ['VAULT_UNAVAILABLE'],
    handle: async ({ query }, services) => ok({ items: await listRefusals(installationOf(services).store, query), next: null }),
  }),
  route({
    id: 'refuseGrant',
    method: 'PUT',
    path: '/principals/{principal}/refusals/{secret}',
    group: 'Secrets',
    summary: 'Refuse a secret to a tool, and with it what users have of their own in its place',
    description:
      'The secret need not be there. A grant that the tool holds by itself is taken away. Refusing twice changes nothing; granting takes it back.',
    access: { scope: 'secrets.write' },
    params: RefusalPath,
    responses: { 200: { description: 'What is refused', schema: RefusalSchema } },
    errors: ['INVALID_SECRET', 'VAULT_UNAVAILABLE'],
    handle: async ({ params: { principal, secret }, caller }, services) =>
      ok(await refuseGrant(installationOf(services), actorOf(caller), principal, secret)),
  }),
  route({
    id: 'allowGrant',
    method: 'DELETE',
    path: '/principals/{principal}/refusals/{secret}',
    group: 'Secrets',
    summary: 'Take a refusal back; nothing is granted by that but what the tool declares',
    access: { scope: 'secrets.write' },
    params: RefusalPath,
    responses: { 200: { description: 'It is refused no more', schema: AllowedSchema } },
    errors: ['GRANT_NOT_FOUND', 'VAULT_UNAVAILABLE'],
    async handle({ params: { principal, secret }, caller }, services) {
      await allowGrant(installationOf(services), actorOf(caller), principal, secret);
      return ok({ principal, secret, refused: false as const });
    },
  }),
  route({
    id: 'setRoles',
    method: 'PUT',
    path: '/principals/{principal}/roles',
    group: 'Secrets',
    summary: 'Say which roles a principal has; it may use what is granted to them',
    description: 'Roles also say who may approve, where a gate names them: those of a `user:` need the scope `admin`.',
    access: { scope: 'secrets.write' },
    params: PrincipalPath,
    body: RolesBody,
    example: { roles: ['billing'] },
    responses: { 200: { description: 'Its roles', schema: RolesSchema } },
    errors: ['INVALID_SECRET', 'VAULT_UNAVAILABLE'],
    async handle({ params: { principal }, body, caller }, services) {
      const roles = [...new Set(body.roles)];
      await giveRoles(services, caller, principal, roles);
      return ok({ principal, roles });
    },
  }),
];
