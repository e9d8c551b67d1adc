/**
 * The vault: secrets sealed at rest, who may use them, and leases on them.
 *
 * It promises that a value goes in through `putSecret` and comes out only through `createValues`, which the firewall
 * alone calls, through `openWebhookSecret`, by which the API verifies webhooks with secrets that are sent nowhere, and through
 * `openConnected`, by which the API takes back the tokens of an account that it had connected itself, and through `openRotation`, by
 * which the driver of a rotation has the value that it replaces; that
 * nothing is given to a principal without a grant; and that every change has its audit entry in the same transaction. A lease
 * hands out placeholders. It never talks to the services that secrets are for.
 */
export { type AwsCredentials, awsCredentials, signAws } from './aws.ts';
export {
  type Binding,
  type BindingRequest,
  canonicalHost,
  formatHostPattern,
  type HostPattern,
  matchesHost,
  matchesPath,
  parseBinding,
  parseHostPattern,
  type Places,
  type Target,
} from './binding.ts';
export {
  breakConnection,
  type Connected,
  clientIsRefused,
  connectionOf,
  findReconnect,
  isOverForGood,
  keepExchanged,
  lockTokens,
  noteClient,
  openConnected,
  type OpenedTokens,
  readConnected,
  reconnectCommand,
} from './connected.ts';
export { type Asker, type Besides, besidesOf, canonicalAccount, userOfWords } from './askers.ts';
export { changedSecrets } from './description.ts';
export { localMasterKey, type MasterKey, open, seal, type Sealed } from './envelope.ts';
export { VaultError, type VaultErrorCode } from './errors.ts';
export {
  addGrant,
  addGrantIn,
  checkPrincipal,
  declareGrants,
  type DeclaredGrant,
  grantsOf,
  type GrantView,
  isUserOfRun,
  listGrants,
  ownSecretName,
  ownSecrets,
  principalOfThread,
  removeGrant,
  setRoles,
  usableGrants,
  userOfRun,
} from './grants.ts';
export { type CallLease, closeCallLease, type OpenCall, openCallLease, openCalls, pruneCallLeases, withOpenCalls } from './call-leases.ts';
export { allowGrant, listRefusals, refuseGrant, type RefusalView } from './refused-grants.ts';
export { GOOGLE_TOKEN_URL, type ServiceAccount, serviceAccountAssertion } from './google.ts';
export { installKey, openInstallKey, publicPart } from './install-keys.ts';
export { type Installation, type InstallationOptions, openInstallation } from './installation.ts';
export {
  createLease,
  type CreatedLease,
  hashToken,
  type LeaseKind,
  LEASE_SECONDS_MOST,
  type LeaseRequest,
  type LeaseView,
  listLeases,
  HELD_LEASE,
  pruneLeases,
  renewLease,
  renewThreadLeases,
  revokeLease,
  revokeThreadLeases,
} from './leases.ts';
export { mentions, type Opening, type OpeningRequest, opens, readOpenings, type StoredOpening } from './openings.ts';
export { PLACEHOLDER_PREFIX } from './placeholders.ts';
export { ensureMasterKeyFile, readMasterKey } from './master.ts';
export { keySamples, rewrapAll, type RewrapReport, wrappedElsewhere } from './rewrap.ts';
export {
  abandonRotation,
  activateRotation,
  askDueRotation,
  type AskedRotation,
  askRotation,
  type Begun,
  beginRotation,
  dueRotations,
  failRotation,
  FOR_GOOD,
  isRotationError,
  type HttpRequest,
  type HttpRotation,
  listOpenRotations,
  namesIn,
  noteAltering,
  noteMinting,
  noteNotMinted,
  noteOutward,
  openMinted,
  type OpenedReplaced,
  openReplaced,
  openRotation,
  type OpenedRotation,
  type OpenedSecret,
  type OpenRotation,
  parseGenerate,
  preparePending,
  remindRotation,
  retireReplaced,
  ROTATE_WORKFLOW,
  ROTATION_DRIVERS,
  type RotationDriver,
  RotationError,
  type RotationErrorCode,
  type RotationParts,
  type RotationState,
  type RotationView,
  runOfRotation,
  TEMPLATE,
  whatWasMinted,
} from './rotation/index.ts';
export { makePlaceholder } from './placeholders.ts';
export {
  checkName,
  getSecret,
  listSecrets,
  prepareSecret,
  putSecret,
  removeSecret,
  removeSecretIn,
  retireVersions,
  rotateSecret,
  rotateSecretIn,
  SECRET_TYPES,
  tellFirewalls,
  type SecretRequest,
  type SecretType,
  type SecretView,
  VALUE_MOST,
} from './secrets.ts';
export { isOwnVariable, SOURCE_TYPES, type Source } from './sources.ts';
export { createValues, type HeldSecret, type Values } from './values.ts';
export { openWebhookSecret, type WebhookSecret, type WebhookValue } from './webhook-values.ts';
