/**
 * Approvals in Slack: each is a card in the thread of the turn that asks, or in the channel for approvals, and people decide on it there.
 *
 * It promises one card for an approval and place, however often its writer dies; that the card is written again whenever the approval changes, wherever
 * it was decided; and that what is approved was shown whole, in the card or in its window. It never votes: a click goes to the platform as Slack
 * signed it, and the platform says whose it is. Nobody is called by a card, and nothing that an agent wrote is read as markup in one.
 */
export { actOnInteraction, openAtOnce } from './interactions.ts';
export { showApprovals } from './notices.ts';
