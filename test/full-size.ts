// How big and how often tests are: by default every property is shown once, in a size that a slip would not survive. LIBRA_TEST_FULL=1 asks
// for the sizes that the requirements name; a setting of its own decides about one of them.

export const isFull: boolean = process.env['LIBRA_TEST_FULL'] === '1';

interface Sizes {
  readonly usual: number;
  readonly full: number;
  /** Variable that says another number. */
  readonly setting?: string;
}

export function sized({ usual, full, setting }: Sizes): number {
  const said = setting === undefined ? undefined : process.env[setting];
  if (said === undefined) return isFull ? full : usual;
  const number = Number(said);
  if (!(number > 0)) throw new Error(`${setting} is a number above zero, not "${said}".`);
  return number;
}
