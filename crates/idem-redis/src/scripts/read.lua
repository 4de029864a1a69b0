return answer('read')
