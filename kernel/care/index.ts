/**
 * Data care: how long what is kept, and what is exported, held or erased for whom.
 *
 * It promises that a legal hold keeps what it names from the moment it is acknowledged; that whatever is deleted is written
 * down in the transaction that deletes it; that an erasure which was begun is done, whoever dies meanwhile, and never under a
 * live turn; and that an export has everything that is stored of its subject and no secret. It changes no entry of the audit
 * log: what is private in those goes with its key.
 */
export { type ArchiveEnd, type ArchiveFile, exportSubject } from './archive.ts';
export { CARE_ERRORS, CareError } from './errors.ts';
export {
  beginErasure,
  eraseKey,
  type ErasurePlan,
  type ErasureView,
  getErasure,
  listErasures,
  planErasure,
  runErasures,
} from './erasures.ts';
export { type HoldView, listHolds, placeHold, releaseHold } from './holds.ts';
export { type Due, dueNow, pruneDue } from './retention.ts';
export { parseSubject } from './subject.ts';
