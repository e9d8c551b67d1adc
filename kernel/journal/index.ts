/**
 * Sealed journals: what a run did cannot be rewritten after its end without that being found.
 *
 * It promises that the audit log gets a commitment to the journal of every run that has ended, once, within seconds and
 * with many runs to an entry, so that the engine's own writes stay as they are; and that a row which was changed, removed,
 * slipped in or put elsewhere is named by whoever holds a journal against its seal. Between the end of a run and its seal
 * the journal is as safe as the database. It changes no journal and knows no workflow: it reads rows.
 */
export { type JournalCheck, type JournalProblem, checkJournal, checkJournals, type JournalsReport } from './check.ts';
export { createJournalSealer, type JournalSealer, SEAL_ACTION, type SealedRun } from './seal.ts';
