/**
 * The vault: secrets sealed at rest, who may use them, and leases on them.
 *
 * It promises that a value goes in through `putSecret` and comes out only through `createValues`, which the firewall
 * alone calls, and through `openWebhookSecret`, by which the API verifies webhooks with secrets that are sent nowhere; that
 * nothing is given to a principal without a grant; and that every change has its audit entry in the same transaction. A lease
 * hands out placeholders. It never talks to the services that secrets are for.
 */
export { type AwsCredentials, awsCredentials, signAws } from './aws.ts';
export {
  type Binding,
  type BindingRequest,
  canonicalHost,
  type HostPattern,
  matchesHost,
  matchesPath,
  parseBinding,
  parseHostPattern,
  type Places,
  type Target,
} from './binding.ts';
export { changedSecrets } from './description.ts';
export { localMasterKey, type MasterKey } from './envelope.ts';
export { VaultError, type VaultErrorCode } from './errors.ts';
export { addGrant, checkPrincipal, grantsOf, type GrantView, listGrants, removeGrant, setRoles } from './grants.ts';
export { GOOGLE_TOKEN_URL, type ServiceAccount, serviceAccountAssertion } from './google.ts';
export { installKey, openInstallKey, publicPart } from './install-keys.ts';
export { type Installation, type InstallationOptions, openInstallation } from './installation.ts';
export {
  createLease,
  type CreatedLease,
  hashToken,
  LEASE_SECONDS_MOST,
  type LeaseRequest,
  type LeaseView,
  listLeases,
  pruneLeases,
  renewLease,
  renewThreadLeases,
  revokeLease,
  revokeThreadLeases,
} from './leases.ts';
export { PLACEHOLDER_PREFIX } from './placeholders.ts';
export { ensureMasterKeyFile, readMasterKey } from './master.ts';
export { rewrapAll, type RewrapReport, wrappedElsewhere } from './rewrap.ts';
export { rotateDue, type RotationReport } from './rotation.ts';
export {
  getSecret,
  listSecrets,
  putSecret,
  removeSecret,
  retireVersions,
  rotateSecret,
  SECRET_TYPES,
  type SecretRequest,
  type SecretType,
  type SecretView,
} from './secrets.ts';
export { isOwnVariable, SOURCE_TYPES, type Source } from './sources.ts';
export { createValues, type HeldSecret, type Values } from './values.ts';
export { openWebhookSecret, type WebhookSecret, type WebhookValue } from './webhook-values.ts';
