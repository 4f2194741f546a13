// Expansion of variables inside the words of a command, by Libra itself: one word stays one word, whatever the value holds.

/** `$${` is a literal `${`; `${NAME}` is a variable; every other dollar sign is itself. */
const REFERENCE = /\$(\$\{)|\$\{([A-Za-z_][A-Za-z0-9_]*)\}/gu;

export interface Expanded {
  readonly words: readonly string[];
  /** Variables that no value was given for, each once, in order of appearance. Their places are left empty. */
  readonly missing: readonly string[];
}

/** Expands `${VAR}` in every word from `env`. Values are inserted as they are and never expanded again. */
export function expandWords(words: readonly string[], env: Readonly<Record<string, string>>): Expanded {
  const missing = new Set<string>();
  const expanded = words.map((word) =>
    word.replace(REFERENCE, (_whole: string, escape: string | undefined, name: string | undefined) => {
      if (escape !== undefined || name === undefined) return '${';
      const value = Object.hasOwn(env, name) ? env[name] : undefined;
      if (value === undefined) missing.add(name);
      return value ?? '';
    }),
  );
  return { words: expanded, missing: [...missing] };
}
