// Patterns of paths with `*`, `?`, `[a-z]` and `**`, matched by following all ways through the pattern at once: the time is that of the
// path's length times the pattern's, whatever either holds.

type Token =
  | { readonly kind: 'one'; readonly accepts: (character: string) => boolean }
  /** Any number of characters of one name. */
  | { readonly kind: 'name' }
  /** Everything. */
  | { readonly kind: 'rest' }
  /** Nothing, or whole folders: which `inside` goes through. */
  | { readonly kind: 'folders' }
  | { readonly kind: 'inside' };

export interface PathPattern {
  readonly matches: (path: string) => boolean;
  /** Steps for each character of a path. */
  readonly cost: number;
}

/**
 * `**` is any number of folders, none among them, and at the end everything; `*`, `?` and sets stay in one name; `\` takes the next character
 * as it is. null: the text is no pattern.
 */
export function compilePathPattern(text: string): PathPattern | null {
  const tokens: Token[] = [];
  const characters = Array.from(text);
  for (let at = 0; at < characters.length; at += 1) {
    const character = characters[at] ?? '';
    switch (character) {
      case '*':
        if (characters[at + 1] !== '*') tokens.push({ kind: 'name' });
        else {
          at += characters[at + 2] === '/' ? 2 : 1;
          if (at === characters.length - 1) tokens.push({ kind: 'rest' });
          else tokens.push({ kind: 'folders' }, { kind: 'inside' });
        }
        break;
      case '?':
        tokens.push({ kind: 'one', accepts: (each) => each !== '/' });
        break;
      case '[': {
        const set = readSet(characters, at + 1);
        if (set === null) return null;
        tokens.push({ kind: 'one', accepts: set.accepts });
        at = set.end;
        break;
      }
      case '\\': {
        at += 1;
        const literal = characters[at];
        if (literal === undefined) return null;
        tokens.push({ kind: 'one', accepts: (each) => each === literal });
        break;
      }
      default:
        tokens.push({ kind: 'one', accepts: (each) => each === character });
    }
  }
  return { matches: (path) => run(tokens, path), cost: tokens.length + 1 };
}

/** Of a set, from behind its bracket on; `end` is where it is closed. */
function readSet(
  characters: readonly string[],
  from: number,
): { readonly accepts: (character: string) => boolean; readonly end: number } | null {
  const isInverted = characters[from] === '^';
  const ranges: (readonly [string, string])[] = [];
  let at = isInverted ? from + 1 : from;
  const next = (): string | undefined => {
    if (characters[at] === '\\') at += 1;
    const character = characters[at];
    at += 1;
    return character;
  };
  while (characters[at] !== ']' || ranges.length === 0) {
    const low = next();
    let high = low;
    if (characters[at] === '-' && characters[at + 1] !== ']') {
      at += 1;
      high = next();
    }
    if (low === undefined || high === undefined || high < low) return null;
    ranges.push([low, high]);
  }
  return {
    accepts: (each) => each !== '/' && ranges.some(([low, high]) => low <= each && each <= high) !== isInverted,
    end: at,
  };
}

/** Places of a pattern that are reached, each once. */
interface Places {
  readonly all: number[];
  readonly has: Uint8Array;
}

function run(tokens: readonly Token[], path: string): boolean {
  const noPlaces = (): Places => ({ all: [], has: new Uint8Array(tokens.length + 1) });
  let [here, there] = [noPlaces(), noPlaces()];
  enter(tokens, here, 0);
  for (const character of path) {
    for (const at of here.all) {
      here.has[at] = 0;
      const token = tokens[at];
      const isTaken = token?.kind === 'one' && token.accepts(character);
      if (token?.kind === 'rest' || token?.kind === 'inside' || (token?.kind === 'name' && character !== '/')) enter(tokens, there, at);
      if (isTaken || (token?.kind === 'inside' && character === '/')) enter(tokens, there, at + 1);
    }
    here.all.length = 0;
    [here, there] = [there, here];
    if (here.all.length === 0) return false;
  }
  return here.has[tokens.length] === 1;
}

/** To this place, and to those that are reached from it without a character. */
function enter(tokens: readonly Token[], places: Places, from: number): void {
  for (let at = from; places.has[at] === 0; at += 1) {
    places.has[at] = 1;
    places.all.push(at);
    const kind = tokens[at]?.kind;
    if (kind === 'folders') enter(tokens, places, at + 2);
    else if (kind !== 'name' && kind !== 'rest') return;
  }
}
