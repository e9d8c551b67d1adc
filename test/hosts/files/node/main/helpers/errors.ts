export class Broken extends Error {
  override name = 'Broken';
}
