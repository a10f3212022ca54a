using Storage.Crush;
using Storage.Crush.Testing;
using Xunit;

namespace Storage.Tests.Crush;

/// <summary>Compile, decompile and test against what crushtool printed for random maps.</summary>
public class CrushToolTests
{
    private static readonly string s_directory = Path.Combine(CrushVectors.SourceDirectory, "..", "crush-generated");

    public static TheoryData<string> Maps =>
        [.. Directory.GetFiles(s_directory, "*.arguments").Select(f => Path.GetFileNameWithoutExtension(f)).Order(StringComparer.Ordinal)];

    [Theory]
    [MemberData(nameof(Maps))]
    public void Compiled_text_is_crushtools_binary(string name) =>
        Assert.Equal(Convert.ToHexString(Bytes(name)), Convert.ToHexString(CrushMap.CompileText(Text(name + ".txt")).Encode()));

    [Theory]
    [MemberData(nameof(Maps))]
    public void Decompiled_binary_is_crushtools_text(string name) =>
        Assert.Equal(Text(name + ".decompiled.txt"), CrushMap.Decode(Bytes(name)).DecompileText());

    [Theory]
    [MemberData(nameof(Maps))]
    public void Test_prints_crushtools_lines(string name)
    {
        using var output = new StringWriter();
        CrushTestOptions options = CrushCommand.ParseTest(Text(name + ".arguments").Split(' '));
        new CrushTester(CrushMap.Decode(Bytes(name)), options, output).Run();
        Assert.Equal(Text(name + ".test-output.txt"), output.ToString());
    }

    [Theory]
    [InlineData("tunable nonsense 1", 1, 9, "expected a tunable")]
    [InlineData("device 0 osd.0\ndevice 0 osd.1", 2, 8, "defined twice")]
    [InlineData("type 1 host\nhost a {\n\talg straw3\n}", 3, 6, "expected a bucket algorithm")]
    [InlineData("type 1 host\nhost a {\n\talg straw2\n\titem osd.7 weight 1\n}", 4, 7, "'osd.7' in bucket 'a' is not defined")]
    [InlineData("type 1 host\nhost a {\n\talg straw2\n\titem a weight 1\n}", 4, 7, "contains itself")]
    [InlineData("type 1 host\nrack a {", 2, 1, "the name of a bucket type, 'rule' or 'choose_args', found 'rack'")]
    [InlineData("type 1 host\nhost a {\n alg straw2", 3, 12, "the map ends here")]
    [InlineData("type 0 osd\ntype 1 host\nhost a {\n id -1\n alg straw2\n}\nrule r {\n id 0\n type replicated\n step take a class ssd\n}", 10, 20, "no device has class 'ssd'")]
    [InlineData("type 1 host\nhost a { id -1 alg straw2 }\nrule r { id 0 type replicated step emit }\nchoose_args 0 { { bucket_id -4 } }", 4, 29, "does not exist")]
    public void Errors_name_the_place_and_what_was_expected(string text, int line, int column, string message)
    {
        CrushFormatException e = Assert.Throws<CrushFormatException>(() => CrushMap.CompileText(text));
        Assert.Contains(message, e.Message, StringComparison.Ordinal);
        Assert.Equal((line, column), (e.Line, e.Column));
    }

    [Fact]
    public void Command_refuses_bad_arguments()
    {
        using var error = new StringWriter();
        Assert.Equal(1, CrushCommand.Run(["test", "/nonexistent"], TextWriter.Null, error));
        Assert.Equal(1, CrushCommand.Run([], TextWriter.Null, error));
        Assert.Contains("crush compile", error.ToString(), StringComparison.Ordinal);
    }

    private static byte[] Bytes(string name) => File.ReadAllBytes(Path.Combine(s_directory, name + ".bin"));

    private static string Text(string file) => File.ReadAllText(Path.Combine(s_directory, file));
}
