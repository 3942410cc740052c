<%@ page contentType="text/plain; charset=UTF-8" trimDirectiveWhitespaces="true" import="bench.Checksum" %>
<%= Checksum.sum(request.getParameter("text").getBytes("UTF-8")) %>
