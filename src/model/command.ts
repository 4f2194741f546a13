// Turns the text of a command into words. There is never a shell: quotes only group, and whatever would need a shell (pipes, redirections,
// substitutions, globs that a person would expect to work) is refused with the way out, instead of being passed on as odd words.

export type SplitCommand = { readonly ok: true; readonly words: readonly string[] } | { readonly ok: false; readonly message: string };

const OPERATORS: ReadonlySet<string> = new Set([
  '|',
  '||',
  '|&',
  '&',
  '&&',
  ';',
  ';;',
  '>',
  '>>',
  '<',
  '<<',
  '<<<',
  '2>',
  '2>>',
  '&>',
  '2>&1',
  '(',
  ')',
]);
const REDIRECTION = /^\d?(?:>{1,2}|<{1,3})&?/u;
const MAX_LENGTH = 16 * 1024;
const WAY_OUT = 'Libra starts programs without a shell: put it into a script and run that, such as `sh start.sh`.';

interface Word {
  readonly text: string;
  /** Whether any part of it was quoted or escaped: then it is no operator. */
  readonly quoted: boolean;
}

/**
 * Splits at white space. `'…'` is literal, `"…"` groups (with `\"` and `\\` inside), a backslash takes the next character as it is;
 * `${VAR}` stays as it stands, for expansion at start. Never throws.
 */
export function splitCommand(text: string): SplitCommand {
  if (text.length > MAX_LENGTH) return { ok: false, message: `A command has at most ${MAX_LENGTH} characters.` };
  if (text.includes('\u0000')) return { ok: false, message: 'A command cannot hold a NUL character.' };
  const split = splitWords(text.trim());
  if (!split.ok) return split;
  if ((split.words[0]?.text ?? '') === '') return { ok: false, message: 'The command is empty.' };
  for (const word of split.words) {
    const trouble = word.quoted ? null : shellSyntax(word.text.length > 60 ? `${word.text.slice(0, 59)}…` : word.text);
    if (trouble !== null) return { ok: false, message: `${trouble} ${WAY_OUT}` };
  }
  return { ok: true, words: split.words.map((word) => word.text) };
}

function splitWords(
  text: string,
): { readonly ok: true; readonly words: readonly Word[] } | { readonly ok: false; readonly message: string } {
  const words: Word[] = [];
  let current: string | null = null;
  let quoted = false;
  for (let index = 0; index < text.length; index += 1) {
    const character = text.charAt(index);
    if (/\s/u.test(character)) {
      if (current !== null) words.push({ text: current, quoted });
      current = null;
      quoted = false;
    } else if (character === "'" || character === '"') {
      const end = closingQuote(text, index);
      if (end === -1) return { ok: false, message: `The quote ${character} at character ${index + 1} has no end.` };
      const inside = text.slice(index + 1, end);
      current = (current ?? '') + (character === '"' ? inside.replace(/\\(["\\])/gu, '$1') : inside);
      quoted = true;
      index = end;
    } else if (character === '\\') {
      if (index + 1 === text.length) return { ok: false, message: 'The backslash at the end has nothing to escape.' };
      index += 1;
      current = (current ?? '') + text.charAt(index);
      quoted = true;
    } else {
      current = (current ?? '') + character;
    }
  }
  if (current !== null) words.push({ text: current, quoted });
  return { ok: true, words };
}

/** Index of the quote that closes the one at `start`, or -1. In double quotes a backslash hides a quote. */
function closingQuote(text: string, start: number): number {
  const quote = text.charAt(start);
  for (let index = start + 1; index < text.length; index += 1) {
    const character = text.charAt(index);
    if (character === quote) return index;
    if (character === '\\' && quote === '"') index += 1;
  }
  return -1;
}

function shellSyntax(word: string): string | null {
  if (OPERATORS.has(word) || REDIRECTION.test(word)) return `\`${word}\` is an operator of a shell.`;
  if (/[^\\];$/u.test(word)) return `\`${word}\` ends with the shell's separator \`;\`.`;
  if (word.includes('$(') || word.includes('`')) return `\`${word}\` asks a shell for a substitution.`;
  return null;
}
