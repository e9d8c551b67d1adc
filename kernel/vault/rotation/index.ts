/**
 * Rotations: what is declared of them, asking for one, how far it has come, and the values that its driver works with.
 *
 * It promises that a rotation replaces the value that it was asked for and no other; that a new value is sealed before anything else
 * happens with it; and that each step has its audit entry in its transaction. What is said to the services is `kernel/rotation`'s.
 */
export {
  askDueRotation,
  type AskedRotation,
  askRotation,
  dueRotations,
  listOpenRotations,
  type OpenRotation,
  ROTATE_WORKFLOW,
  type RotationParts,
  runOfRotation,
} from './ask.ts';
export { parseGenerate, ROTATION_DRIVERS, type RotationDriver } from './declared.ts';
export { FOR_GOOD, isRotationError, RotationError, type RotationErrorCode } from './errors.ts';
export { openMinted, type OpenedReplaced, openReplaced, openRotation, type OpenedRotation, type OpenedSecret } from './opened.ts';
export {
  abandonRotation,
  activateRotation,
  type Begun,
  beginRotation,
  failRotation,
  noteAltering,
  noteMinting,
  noteNotMinted,
  noteOutward,
  preparePending,
  remindRotation,
  retireReplaced,
  whatWasMinted,
} from './progress.ts';
export { type HttpRequest, type HttpRotation, namesIn, TEMPLATE } from './requests.ts';
export { type RotationState, type RotationView } from './view.ts';
