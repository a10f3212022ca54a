namespace Storage.Crush.Text;

/// <summary>A word or bracket of a text map and where it stands.</summary>
/// <param name="Text">Empty at the end of the map.</param>
/// <param name="Line">From 1.</param>
/// <param name="Column">From 1.</param>
internal readonly record struct CrushToken(string Text, int Line, int Column)
{
    internal bool IsEnd => Text.Length == 0;

    internal CrushFormatException Expected(string what) =>
        new(Line, Column, IsEnd ? $"expected {what}, but the map ends here" : $"expected {what}, found '{Text}'");

    internal CrushFormatException Error(string message) => new(Line, Column, message);
}

/// <summary>Splits a text map into words and brackets; '#' starts a comment that runs to the end of the line.</summary>
internal sealed class CrushTokens
{
    private readonly List<CrushToken> _tokens = [];
    private int _next;

    internal CrushTokens(string text)
    {
        int line = 1;
        int lineStart = 0;
        int at = 0;
        while (at < text.Length)
        {
            char c = text[at];
            if (c == '\n')
            {
                line++;
                lineStart = ++at;
            }
            else if (c == '#')
            {
                int end = text.IndexOf('\n', at);
                at = end < 0 ? text.Length : end;
            }
            else if (char.IsWhiteSpace(c))
            {
                at++;
            }
            else
            {
                int start = at;
                if (IsBracket(c))
                {
                    at++;
                }
                else
                {
                    while (at < text.Length && !IsBracket(text[at]) && text[at] != '#' && !char.IsWhiteSpace(text[at]))
                    {
                        at++;
                    }
                }

                _tokens.Add(new CrushToken(text[start..at], line, start - lineStart + 1));
            }
        }

        _tokens.Add(new CrushToken("", line, text.Length - lineStart + 1));
    }

    internal CrushToken Peek => _tokens[_next];

    internal CrushToken Next()
    {
        CrushToken token = _tokens[_next];
        if (!token.IsEnd)
        {
            _next++;
        }

        return token;
    }

    /// <summary>Takes the next word if it is this one.</summary>
    internal bool TryTake(string word)
    {
        if (Peek.Text != word)
        {
            return false;
        }

        _next++;
        return true;
    }

    private static bool IsBracket(char c) => c is '{' or '}' or '[' or ']';
}
