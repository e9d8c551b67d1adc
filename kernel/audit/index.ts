/**
 * The audit log: what was asked for, decided and done, written before it is done.
 *
 * It promises one way in, whose row commits with the business it tells of or not at all; entries that nobody can change,
 * drop or slip in unnoticed, as Merkle batches in a chain with signed checkpoints; and proofs that hold without Centaur
 * (`offline.ts`). It never holds a secret, and never says who may do what: that is policy. What an owner of database,
 * keys and machine can still do is rewrite all of it: against that, keep checkpoints elsewhere.
 */
export { type AuditEntry } from './entry.ts';
export { type AuditLog, type AuditLogOptions, createAuditLog } from './log.ts';
export { type Finding, rootFromPath, sha256, keptCheckpoints, verifyExport, type ExportReport } from './offline.ts';
export { type AuditFilter, type AuditView, listEntries, openIntents } from './reads.ts';
export { erasePrivate, type KeyWrap, noteExport, openPrivate, protectPartitions, pruneLog, pruneState, sealPrivate } from './retention.ts';
export { type Proof, type Story, type StoryEntry, type StoryOf, tellStory, type Told } from './story.ts';
export { continueOrder, createSealer, type Sealer, type SealerOptions, type Signer } from './seal.ts';
export { exportLog, type InclusionProof, isOwnEntry, proveInclusion, verifyLog, type VerifyOptions, type VerifyReport } from './verify.ts';
