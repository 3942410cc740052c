<%@ page contentType="text/plain; charset=UTF-8" trimDirectiveWhitespaces="true"
    import="java.io.InputStream, java.nio.file.Files, java.nio.file.Path, java.nio.file.StandardCopyOption, jakarta.servlet.http.Part" %>
<%
    Path directory = Path.of(System.getProperty("upload.directory"));
    if (request.getMethod().equals("POST")) {
        Part part = request.getPart("file");
        try (InputStream content = part.getInputStream()) {
            Files.copy(content, directory.resolve(part.getSubmittedFileName()), StandardCopyOption.REPLACE_EXISTING);
        }
        out.println("kept");
    } else {
        out.print(Files.readString(directory.resolve(request.getParameter("name"))));
    }
%>
