using Spectre.Console;

namespace Storage.Cli.Commands;

/// <summary>Consoles and tables as all verbs use them.</summary>
internal static class Terminal
{
    /// <summary>Lines are never cut or wrapped where a program reads them.</summary>
    private const int WidthForPrograms = 4000;

    public static IAnsiConsole Create(TextWriter writer, bool redirected)
    {
        IAnsiConsole console = AnsiConsole.Create(new AnsiConsoleSettings
        {
            Out = new AnsiConsoleOutput(writer),
            Ansi = redirected ? AnsiSupport.No : AnsiSupport.Detect,
            ColorSystem = redirected ? ColorSystemSupport.NoColors : ColorSystemSupport.Detect,
            Interactive = redirected ? InteractionSupport.No : InteractionSupport.Detect,
        });
        if (redirected)
        {
            console.Profile.Width = WidthForPrograms;
        }

        return console;
    }

    /// <summary>A table without lines; columns whose name begins with '>' are aligned to the right.</summary>
    public static Table Table(params string[] columns)
    {
        var table = new Table { Border = TableBorder.None, ShowHeaders = true };
        foreach (string name in columns)
        {
            bool right = name.StartsWith('>');
            var column = new TableColumn(new Text(right ? name[1..] : name, new Style(decoration: Decoration.Bold)))
            {
                NoWrap = true,
                Padding = new Padding(0, 0, 2, 0),
                Alignment = right ? Justify.Right : Justify.Left,
            };
            table.AddColumn(column);
        }

        return table;
    }

    /// <summary>Adds a row of plain text.</summary>
    public static Table Row(this Table table, params object[] cells) =>
        table.AddRow(cells.Select(cell => cell as Spectre.Console.Rendering.IRenderable ?? new Text(FormattableString.Invariant($"{cell}"))));

    /// <summary>Text in the colour of its meaning.</summary>
    public static Text Colored(string text, bool good) => new(text, new Style(good ? Color.Green : Color.Red));
}
